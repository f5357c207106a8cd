"""What follows from an evaluation: versions and aliases of models that passed, and what a model has learnt from."""

import pytest

from evaluable_on_disk import BERT, classifier, data, model, rows_of
from trainshed.errors import PlatformError
from trainshed.record.evaluation import Estimate, EvaluationResult, Verdict
from trainshed.record.evaluations import evaluations_of
from trainshed.record.registry import all_versions, resolve, set_alias
from trainshed.record.results import WeightsOrigin
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.weights import of_run, of_version
from trainshed.runtime.evaluation.passing import settle
from trainshed.runtime.evaluation.seen import overlap_with, training_data
from trainshed.runtime.report import Reporter, Voice
from trainshed.spec.evaluation.evaluate import EvaluateJob

TASK = {"task": {"kind": "text_classification"}, "model": BERT}
SPLITS = {split: rows_of(split, 10) for split in ("train", "validation", "test")}


@pytest.fixture
def storage(tmp_path):
    return Storage.open(tmp_path)


@pytest.fixture
def read(storage):
    return data(storage, "moods", SPLITS)


def judged(run, passed):
    verdict = Verdict(
        require={"accuracy": ">= 0.9", "against": "x@1"}, passed=passed, reasons=() if passed else ("low",)
    )
    return EvaluationResult(
        model=run.run_id,
        model_run=run.run_id,
        data="d",
        split="test",
        samples=10,
        confidence=0.95,
        metrics={"accuracy": Estimate(value=0.95), "loss": Estimate(value=1.0)},
        verdict=verdict,
    )


def settled(storage, run, *, passed=True, **fields):
    """What an evaluation of this run comes to, and what stands in the registry then."""
    job = EvaluateJob.model_validate(
        {"kind": "evaluate", "name": "e", "model": f"run://{run.run_id}", "data": "run://d", "require": {"loss": "< 9"}}
        | fields
    )
    record = Record(storage, "e-1")
    reporter = Reporter(record, Voice())
    origin = of_run(run) if job.model.startswith("run://") else of_version(resolve(storage, job.model))
    try:
        return settle(job, judged(run, passed), origin, reporter)
    finally:
        reporter.close()


def test_a_model_that_passes_is_registered_with_the_figures_of_its_gate_and_promoted(storage, read):
    run = model(storage, "m", classifier, read, TASK)
    result = settled(storage, run, register="moods", promote="production")
    assert (result.registered, result.promoted) == ("moods@1", "moods@production")
    version = resolve(storage, "moods@production")
    assert version.facts.metrics == {"accuracy": 0.95}
    assert version.facts.model_sha256 == run.lineage.model_sha256
    [kept] = evaluations_of(storage, version)
    assert (kept.name, kept.verdict.passed, kept.metrics["loss"].value) == ("e", True, 1.0)


@pytest.mark.parametrize(("gate", "registered"), [("run://e", "chat@1"), ("run://other", None)])
def test_a_training_that_waits_for_a_gate_is_registered_by_it_alone(storage, read, gate, registered):
    run = model(storage, "m", classifier, read, {**TASK, "register": {"name": "chat", "gate": gate}})
    assert settled(storage, run, passed=False).registered is None
    assert settled(storage, run).registered == registered


def test_a_driver_that_died_in_between_registers_once(storage, read):
    run = model(storage, "m", classifier, read, TASK)
    for _ in range(2):
        assert settled(storage, run, register="moods").registered == "moods@1"
    assert len(all_versions(storage)) == 1


def test_a_model_that_fails_is_not_registered_and_keeps_no_alias_from_others(storage, read):
    run = model(storage, "m", classifier, read, TASK, version_of="moods")
    other = model(storage, "n", classifier, read, TASK, day=2, version_of="moods")
    set_alias(storage, "moods@1", "production")
    result = settled(storage, other, passed=False, model="moods@2", promote="production")
    assert (result.registered, result.promoted) == (None, None)
    assert evaluations_of(storage, resolve(storage, "moods@1")) == []
    assert str(resolve(storage, "moods@production")) == "moods@1"
    assert settled(storage, run, passed=False, register="better").registered is None
    assert {str(one) for one in all_versions(storage)} == {"moods@1", "moods@2"}
    assert [one.verdict.reasons for one in evaluations_of(storage, resolve(storage, "moods@2"))] == [("low",)]


def test_a_model_without_lineage_gets_no_version(storage, read):
    run = model(storage, "m", classifier, read, TASK)
    job = EvaluateJob.model_validate(
        {"kind": "evaluate", "name": "e", "model": "run://m", "data": "run://d", "require": {"loss": "< 9"}}
        | {"register": "moods"}
    )
    reporter = Reporter(Record(storage, "e-1"), Voice())
    origin = WeightsOrigin(run_id=run.run_id, model=run.at("model"))
    with pytest.raises(PlatformError, match="has no fingerprint"):
        settle(job, judged(run, True), origin, reporter)
    reporter.close()


def test_samples_that_stand_in_the_training_set_are_found(storage, read):
    run = model(storage, "m", classifier, read, TASK)
    leaking = data(storage, "leaking", {**SPLITS, "test": [*SPLITS["test"][:6], *SPLITS["train"][:2]]})
    learnt, remarks = training_data(run)
    assert ([one.run_id for one in learnt], remarks) == ([read.run_id], ())
    of_train = overlap_with(learnt, read.outcome, "train", 10, storage=storage, ngram=4)
    assert overlap_with(learnt, read.outcome, "test", 10, storage=storage, ngram=13).overlapping == 0
    assert (of_train.share, of_train.run_share) == (1.0, 1.0)
    assert overlap_with(learnt, leaking.outcome, "test", 6, storage=storage, ngram=13).overlapping == 0
    assert overlap_with(learnt, leaking.outcome, "test", 8, storage=storage, ngram=13).overlapping == 2


def test_what_a_model_began_with_has_learnt_too(storage, read):
    """The second training never saw what the first one's data holds, but its weights did."""
    first = model(storage, "first", classifier, read, TASK)
    own = data(storage, "own", {split: rows_of(f"own {split}", 10) for split in SPLITS})
    second = model(storage, "second", classifier, own, TASK, day=2)
    lineage = second.lineage.model_copy(update={"weights": of_run(first)})
    storage.write_json(second.at("lineage.json"), lineage.as_json())
    learnt, remarks = training_data(second)
    assert ([one.run_id for one in learnt], remarks) == ([own.run_id, read.run_id], ())
    assert overlap_with(learnt, read.outcome, "train", 10, storage=storage, ngram=13).share == 1.0
    assert overlap_with(learnt[:1], read.outcome, "train", 10, storage=storage, ngram=13).share == 0.0


def test_data_that_is_gone_is_said(storage, read):
    run = model(storage, "m", classifier, read, TASK)
    storage.delete(read.outcome.data)
    learnt, remarks = training_data(run)
    assert learnt == []
    assert remarks == (f"leakage: the data {read.run_id} of {run.run_id} is not there any more",)


def test_two_models_that_began_with_one_another_are_no_endless_chain(storage, read):
    run = model(storage, "m", classifier, read, TASK)
    lineage = run.lineage.model_copy(update={"weights": of_run(run)})
    storage.write_json(run.at("lineage.json"), lineage.as_json())
    assert [one.run_id for one in training_data(run)[0]] == [read.run_id]
