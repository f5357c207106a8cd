"""Evaluations beside the versions that they are of: which of them let a version have an alias, or be served."""

import logging

import pytest

from evaluable_on_disk import BERT, classifier, data, evaluation, model, rows_of
from trainshed.errors import PlatformError, UsageError
from trainshed.record.built_on import trained_by
from trainshed.record.evaluation import Estimate, Evaluated, EvaluationResult, Verdict
from trainshed.record.evaluations import check_gates, evaluations_of, keep_evaluation, newest_of_each, passed
from trainshed.record.index import Index
from trainshed.record.registry import resolve
from trainshed.record.storage import Storage

TASK = {"task": {"kind": "text_classification"}, "model": BERT}


@pytest.fixture
def storage(tmp_path):
    return Storage.open(tmp_path)


@pytest.fixture
def run(storage):
    read = data(storage, "moods", {split: rows_of(split, 4) for split in ("train", "validation", "test")})
    return model(storage, "m", classifier, read, TASK, version_of="moods")


@pytest.fixture
def version(storage, run):
    return resolve(storage, "moods@1")


def found(name, day, verdict, *, run_id=None):
    """One evaluation; `verdict` is whether it passed, None without a gate."""
    said = None
    if verdict is not None:
        said = Verdict(
            require={"accuracy": ">= 0.9"}, passed=verdict, reasons=() if verdict else (f"low on day {day}",)
        )
    return Evaluated(
        run_id=run_id or f"{name}-26112{day}-000000-abcdef01",
        name=name,
        created_at=f"2026-11-2{day}T00:00:00.000+00:00",
        split="test",
        samples=4,
        metrics={"accuracy": Estimate(value=0.5, interval=(0.4, 0.6))},
        verdict=said,
    )


def test_evaluations_are_listed_newest_first_and_each_name_counts_by_its_newest(storage, version):
    for one in (found("a", 2, False), found("b", 1, True), found("a", 3, True)):
        keep_evaluation(storage, version, one)
    listed = evaluations_of(storage, version)
    assert [(one.name, one.created_at[9]) for one in listed] == [("a", "3"), ("a", "2"), ("b", "1")]
    assert listed[0].metrics["accuracy"].interval == (0.4, 0.6)
    assert {name: one.verdict.passed for name, one in newest_of_each(listed).items()} == {"a": True, "b": True}
    check_gates(storage, version)


@pytest.mark.parametrize(
    ("kept", "gate", "reason"),
    [
        ([("a", 1, True), ("a", 2, False)], None, "moods@1 has failed the gate of evaluation a .*: low on day 2"),
        ([("a", 1, True), ("b", 1, False)], "a", "moods@1 has failed the gate of evaluation b"),
        ([("a", 1, True)], "b", "moods@1 has no evaluation b; there are a; submit one with model: moods@1"),
        ([], "b", "moods@1 has no evaluation b; submit one"),
        ([("a", 1, None)], "a", "evaluation a .* has no gate; give it require"),
    ],
)
def test_a_version_that_has_not_passed_gets_no_alias(storage, version, kept, gate, reason):
    for one in kept:
        keep_evaluation(storage, version, found(*one))
    with pytest.raises(PlatformError, match=reason) as caught:
        check_gates(storage, version, gate)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("kept", "gate"), [([], None), ([("a", 1, None)], None), ([("a", 1, False), ("a", 2, True)], "a")]
)
def test_a_version_that_has_failed_nothing_may_have_one(storage, version, kept, gate):
    for one in kept:
        keep_evaluation(storage, version, found(*one))
    check_gates(storage, version, gate)


def test_what_a_stranger_wrote_beside_a_version_is_passed_over(storage, version, caplog):
    keep_evaluation(storage, version, found("a", 1, True))
    folder = "models/moods/evaluations/1"
    storage.write(f"{folder}/x.json", b"{")
    storage.write_json(f"{folder}/y.json", found("a", 2, False, run_id="other").as_json())  # a copy under another name
    storage.write_json(f"{folder}/{'z' * 90}.json", {})
    storage.write_json(f"{folder}/w.json", {**found("a", 3, True, run_id="w").as_json(), "split": "../up"})
    with caplog.at_level(logging.WARNING, "trainshed.record"):
        listed = evaluations_of(storage, version)
    assert [one.created_at[9] for one in listed] == ["1"]
    assert len(caplog.records) == 4


def test_an_endpoint_asks_for_the_newest_evaluation_of_its_own_model(storage, run):
    other = model(storage, "n", classifier, Index(storage).run("moods"), TASK)
    evaluation(storage, "e", run, "moods@1", passed=False)
    newer = evaluation(storage, "e", run, "moods@1", passed=True, day=2)
    evaluation(storage, "e", other, "n", passed=False, day=3)
    runs = Index(storage).named("e", "evaluate")
    assert passed(runs, gate="run://e", model="moods@1", model_run=run.run_id).run_id == newer.run_id
    with pytest.raises(PlatformError, match=r"run://e: n has failed it in e-261123.*: accuracy is 0.5"):
        passed(runs, gate="run://e", model="n", model_run=other.run_id)
    with pytest.raises(PlatformError, match="no evaluation of that name is of x"):
        passed(runs, gate="run://e", model="x", model_run="x")


def test_an_evaluation_that_failed_has_its_figures_and_nothing_is_built_on_it(storage, run):
    failed = evaluation(storage, "e", run, "moods@1", passed=False)
    assert isinstance(failed.outcome, EvaluationResult)
    assert not failed.outcome.verdict.passed
    with pytest.raises(UsageError, match="no run of that name has succeeded"):
        Index(storage).finished("e", "evaluate")
    evaluation(storage, "e", run, "moods@1", passed=True, day=2)
    assert Index(storage).finished("e", "evaluate").outcome.verdict.passed


def test_the_training_of_a_model_is_read_from_its_run(storage, run):
    assert trained_by(run).task.kind == "text_classification"
    storage.write_json("runs/p/job.json", {**Index(storage).run("moods").job, "job": PREPARE, "run_id": "p"})
    with pytest.raises(UsageError, match="is a prepare run; a train run is needed"):
        trained_by(Index(storage).run("p"))


PREPARE = {
    "kind": "prepare",
    "name": "p",
    "source": {"kind": "text_files", "path": "/x/*"},
    "tokenizer": {"kind": "train_bpe", "vocab_size": 300},
    "pack": {"block_size": 8},
}
