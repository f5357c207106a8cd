"""References are answered once: what each of them means, and that storage is listed once for all of them."""

import pytest

from counting_storage import counting
from job_texts import PREPARE, TRAIN, TUNE, changed, text
from results_on_disk import finished
from submitting import checked
from trainshed.client import resume
from trainshed.client.bind import bind
from trainshed.client.bound import (
    BoundPrepare,
    BoundServing,
    BoundSweep,
    BoundTraining,
    EarlierSweep,
    FoundBest,
    PlannedData,
    PlannedModel,
    PlannedSweep,
    PreparedData,
    TrainedModel,
)
from trainshed.client.plan import plan
from trainshed.client.read import Asked
from trainshed.client.submit import prepare
from trainshed.errors import Fault, SpecError
from trainshed.record.facts import VersionFacts
from trainshed.record.index import Index
from trainshed.record.registry import ModelVersion, register
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.spec.load import load_files

MANIFEST = {"block_size": 64, "vocab_size": 512, "splits": {"train": {"samples": 50, "shards": []}}}
HELD_OUT = {"samples": 5, "shards": [{"file": "validation-00000.arrow", "sha256": "22"}]}
BEST = {"trial": "trial-00001", "settings": {}, "training": {**TUNE["train"], "data": "run://text", "steps": 7}}


def begun(storage, name, job, *, number=0, state=None, **result):
    record = Record(storage, f"{name}-261120-00000{number}-abcdef01")
    created_at = f"2026-11-20T00:00:0{number}.000+00:00"
    record.begin({"name": name, **job}, submission_id="ts-1", created_at=created_at, number=number)
    if state:
        finished(record, state, **result)
    return record


@pytest.fixture
def there(tmp_path):
    """Two data sets, a sweep on one of them, a training and three versions of its model."""
    storage = Storage.open(tmp_path / "storage")
    for number, name in enumerate(("text", "other")):
        manifest = {**MANIFEST, "fingerprint": name, "splits": {**MANIFEST["splits"], "validation": HELD_OUT}}
        begun(storage, name, {"kind": "prepare"}, number=number, state="succeeded", data="data/x", manifest=manifest)
    begun(storage, "before", {**TUNE, "name": "before"}, number=2, state="succeeded", best=BEST, trials=[])
    model = begun(
        storage, "first", {"kind": "train"}, number=3, state="succeeded", metrics={}, model="runs/first/model"
    )
    for _ in range(3):
        facts = {"run_id": model.run_id, "model": f"runs/{model.run_id}/model", "fingerprint": "ab" * 32, "metrics": {}}
        register(storage, VersionFacts(name="gpt", created_at="2026-11-20T00:00:09.000+00:00", **facts))
    return storage


def loaded(folder, *jobs):
    file = folder / "job.yaml"
    file.write_text(text(*jobs))
    return load_files([file])


def serve(name, model):
    return {"kind": "serve", "name": name, "model": model, "auth": {"keys": ["MY_KEY"]}}


SEARCH = {"kind": "tpe", "trials": 2, "learn_from": ["run://before"]}
MANY = (
    changed(TRAIN, name="one"),
    changed(TRAIN, name="two", data="run://other"),
    changed(TUNE, search=SEARCH, space={"data": {"choice": ["run://text", "run://other"]}}),
    {"kind": "train", "name": "final", "from_best": "run://before"},
    {"kind": "train", "name": "wide", "from_best": "run://before", "settings": {"model.width": 64}},
    serve("a", "gpt@1"),
    serve("b", "gpt@latest"),
    serve("c", "gpt@2"),
    serve("d", "run://first"),
)


def test_a_submission_of_many_references_lists_each_folder_of_storage_once(there, tmp_path):
    storage, listed = counting(tmp_path / "storage")
    assert not storage.is_local
    jobs = loaded(tmp_path, *MANY)
    made = prepare(Asked(tuple(jobs), None), Index(storage), here=True, say=print)
    assert len(made.plans) == 5
    assert sorted(listed) == ["models/gpt/versions", "runs"]


def test_a_resumption_lists_the_runs_once(there, tmp_path):
    begun(there, "model", changed(TRAIN), number=4, state="failed")
    begun(there, "next", changed(TRAIN, name="next", data="run://other"), number=5, state="skipped")
    storage, listed = counting(tmp_path / "storage")
    index = Index(storage)
    made = resume.prepare(index.run("model"), "failed", [], index)
    assert [one.job.name for one in made.planned.loaded] == ["model", "next"]
    assert listed == ["runs"]


def test_what_storage_holds_answers_with_what_it_came_to(there, tmp_path):
    one, two, sweep, final, wide, *served = bind(loaded(tmp_path, *MANY), Index(there)).jobs
    assert isinstance(one, BoundTraining)
    assert isinstance(one.data, PreparedData)
    assert (one.data.run.run_id[:4], one.data.outcome.data, one.data.form.sizes.context) == ("text", "data/x", 64)
    assert one.best is None
    assert two.data.manifest.fingerprint == "other"
    assert isinstance(sweep, BoundSweep)
    assert [data.manifest.fingerprint for data in sweep.data.values()] == ["text", "other"]
    (learnt,) = sweep.learns_from.values()
    assert isinstance(learnt, EarlierSweep)
    assert (learnt.outcome.best.trial, learnt.unlike) == ("trial-00001", None)
    assert isinstance(final.best, FoundBest)
    assert (final.best.trial.trial, final.full.name, final.full.steps) == ("trial-00001", "final", 7)
    assert wide.full.model.width == 64
    assert all(isinstance(each, BoundServing) for each in served)
    assert [str(each.model) for each in served[:3]] == ["gpt@1", "gpt@3", "gpt@2"]
    assert all(isinstance(each.model, ModelVersion) for each in served[:3])
    assert isinstance(served[3].model, TrainedModel)


def test_a_document_before_answers_first(there, tmp_path):
    jobs = (
        PREPARE,
        changed(TUNE, name="before"),
        {"kind": "train", "name": "final", "from_best": "run://before", "register": "gpt"},
        changed(TUNE, name="again", search=SEARCH),
        serve("a", "gpt@latest"),
        serve("b", "run://final"),
    )
    text_, before, final, again, *served = bind(loaded(tmp_path, *jobs), Index(there)).jobs
    assert isinstance(text_, BoundPrepare)
    assert isinstance(before.data["run://text"], PlannedData)
    assert isinstance(final.best, PlannedSweep)
    assert (final.full.steps, isinstance(final.data, PlannedData)) == (10, True)
    assert isinstance(again.learns_from["run://before"], PlannedSweep)
    assert all(isinstance(one.model, PlannedModel) and one.model.document is final.loaded for one in served)


def test_what_is_bound_is_planned_without_its_storage(there, tmp_path):
    bound = checked(loaded(tmp_path, *MANY), there)
    there.delete("runs")
    there.delete("models")
    assert [one.name for one in plan(bound).plans] == ["one", "two", "sweep", "final", "wide"]


def test_references_without_an_answer_are_said_together_with_what_else_is_wrong(there, tmp_path):
    jobs = (changed(TRAIN, data="run://none"), serve("a", "gpt@9"), serve("b", "none@1"))
    found = [Fault("job.yaml", 1, "x", "another")]
    with pytest.raises(SpecError) as caught:
        bind(loaded(tmp_path, *jobs), Index(there), found=found)
    said = [fault.message for fault in caught.value.faults]
    for part in ("another", "neither an earlier document", "gpt@9: no such version", "no model 'none' is registered"):
        assert any(part in message for message in said), part
    assert len(said) == 4


def test_a_version_that_is_registered_after_the_list_was_made_is_of_the_next_command(there):
    index = Index(there)
    assert str(index.version("gpt@latest")) == "gpt@3"
    facts = there.read_json("models/gpt/versions/3.json")
    register(there, VersionFacts.model_validate(facts))
    assert str(index.version("gpt@latest")) == "gpt@3"
    assert str(Index(there).version("gpt@latest")) == "gpt@4"
