"""What `platform resume` takes and refuses, and what it leaves in the Record."""

import pytest

from results_on_disk import finished
from trainshed.client import resume as client
from trainshed.client.bind import Begun
from trainshed.client.bind import bind as bind_documents
from trainshed.errors import SpecError, UsageError
from trainshed.record.bound import bind
from trainshed.record.index import Index
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.spec.document.yaml_tree import Document
from trainshed.spec.load import load_documents

TRAIN = {
    "kind": "train",
    "name": "model",
    "model": {"kind": "gpt2", "layers": 1, "heads": 2, "width": 32},
    "data": "run://days",
    "optimizer": {"kind": "adamw", "learning_rate": 0.003},
    "workers": {"count": 2, "per_device_batch_size": 2},
    "global_batch_size": 8,
    "steps": 40,
}
PREPARE = {"kind": "prepare", "name": "days", "source": {"kind": "jsonl", "path": "source/days/*"}}
LATER = "2026-11-26T00:00:00.000+00:00"
MANIFEST = {"vocab_size": 300, "block_size": 16, "splits": {"train": {"blocks": 100}, "validation": {"blocks": 9}}}


def begin(storage, run_id, job, *, number, state=None, **result):
    record = Record(storage, run_id)
    record.begin(
        job,
        submission_id="ts-days-1",
        created_at=f"2026-11-25T00:00:0{number}.000+00:00",
        number=number,
        file="job.yaml",
        code={"git_commit": "abc"},
    )
    if state:
        finished(record, state, **result)
    return record


def prepare(record, state, sets):
    return client.prepare(record, state, sets, Index(record.storage))


@pytest.fixture
def storage(tmp_path):
    storage = Storage.open(tmp_path)
    begin(storage, "days-1", PREPARE, number=0, state="succeeded", manifest=MANIFEST, data="data/x")
    return storage


def test_a_stopped_training_goes_on_with_the_documents_after_it(storage):
    record = begin(storage, "model-1", TRAIN, number=1, state="stopped")
    begin(storage, "next-1", {**TRAIN, "name": "next"}, number=2, state="skipped")
    made = prepare(record, "stopped", ["workers.count=1", "model.workers.cpus=2", "engine.kind=ddp"])
    assert [one.run_id for one in made.documents] == ["days-1", "model-1", "next-1"]
    first, second = (one.job for one in made.planned.loaded)
    assert (first.workers.count, first.workers.cpus, first.engine.kind) == (1, 2, "ddp")
    assert second.workers.count == 2


def test_what_goes_on_is_checked_against_the_data_that_it_began_with(storage):
    job = {**TRAIN, "model": {**TRAIN["model"], "context": 1024}}
    record = begin(storage, "model-1", job, number=1, state="stopped")
    newer = {**MANIFEST, "block_size": 4096}
    begin(storage, "days-2", PREPARE, number=9, state="succeeded", manifest=newer, data="data/y")
    with pytest.raises(SpecError, match=r"is under the data's pack\.block_size, 4096"):
        prepare(record, "stopped", [])  # of an older version, which wrote nothing down
    bind(record, {"run://days": Record(storage, "days-1")})
    assert prepare(record, "stopped", []).record is record
    storage.delete("runs/days-1")
    with pytest.raises(SpecError, match="data: no run 'days-1' in "):
        prepare(record, "stopped", [])


def test_what_a_run_began_with_answers_for_data_alone_and_is_refused_in_one_line_where_it_is_gone(storage):
    def bound(job):
        (one,) = load_documents([Document("job.yaml", 1, job)])
        began = {"run://days": Record(storage, "days-1")}
        return bind_documents([one], Index(storage), begun=Begun(one, began)).jobs[0]

    begin(storage, "days-2", PREPARE, number=9, state="succeeded", manifest=MANIFEST, data="data/y")
    assert bound(TRAIN).data.run.run_id == "days-1"
    with pytest.raises(SpecError, match="is a prepare run; a tune run is needed here"):
        bound({"kind": "train", "name": "model", "from_best": "run://days"})
    storage.write_json("runs/days-1/result.json", {"state": "failed"})
    with pytest.raises(SpecError, match="its data is not there any more; submit the job again"):
        bound(TRAIN)


SWEEP = {
    "kind": "tune",
    "name": "budget",
    "train": {key: value for key, value in TRAIN.items() if key not in ("kind", "name")},
    "space": {"optimizer.learning_rate": {"log_uniform": [0.001, 0.1]}},
    "search": {"kind": "random", "trials": 4},
}


def test_a_sweep_that_is_called_budget_goes_on_with_another_budget_and_keeps_its_space(storage):
    record = begin(storage, "budget-1", SWEEP, number=1, state="budget_reached")
    for said in ("budget.hours=2.0", "budget.budget.hours=2.0"):
        assert prepare(record, "budget_reached", [said]).planned.loaded[0].job.budget.hours == 2.0
    assert prepare(record, "budget_reached", ["best_among=all"]).planned.loaded[0].job.best_among == "all"
    for said in ("budget.space={}", "budget.train.steps=9", "train.steps=9"):
        with pytest.raises(SpecError, match="keeps its space, training and seed"):
            prepare(record, "budget_reached", [said])


def test_a_sweep_goes_on_that_has_learnt_from_one_on_data_which_was_made_anew_since(storage):
    before = {**SWEEP, "name": "before", "metric": "validation_accuracy"}
    best = {"trial": "trial-00000", "settings": {}, "training": {}}
    begin(storage, "before-1", before, number=1, state="succeeded", best=best, trials=[])
    learns = {**SWEEP, "search": {"kind": "tpe", "trials": 4, "learn_from": ["run://before"]}}
    record = begin(storage, "budget-1", learns, number=2, state="stopped")
    assert prepare(record, "stopped", []).planned.loaded[0].job.learns_from == ("run://before",)


@pytest.mark.parametrize("state", ["succeeded", "running", "waiting", "skipped"])
def test_a_training_that_cannot_go_on_is_refused(storage, state):
    record = begin(storage, "model-1", TRAIN, number=1)
    with pytest.raises(UsageError, match="only a failed, stopped or lost train run can be resumed"):
        prepare(record, state, [])


def test_a_prepare_run_is_refused(storage):
    with pytest.raises(UsageError, match="is a prepare run; what trains, searches or measures can go on"):
        prepare(Record(storage, "days-1"), "failed", [])


@pytest.mark.parametrize("change", ["model.layers=2", "data=run://other", "optimizer.learning_rate=1.0", "seed=3"])
def test_what_is_learnt_cannot_change(storage, change):
    record = begin(storage, "model-1", TRAIN, number=1, state="failed")
    with pytest.raises(SpecError, match="keeps its model, data and maths"):
        prepare(record, "failed", [change])


def test_a_change_that_does_not_fit_is_refused_as_at_submit(storage):
    record = begin(storage, "model-1", TRAIN, number=1, state="failed")
    with pytest.raises(SpecError, match="global_batch_size must be a multiple"):
        prepare(record, "failed", ["workers.count=3"])


def test_the_document_before_must_have_succeeded(storage):
    begin(storage, "first-1", {**TRAIN, "name": "first"}, number=1, state="failed")
    record = begin(storage, "model-1", TRAIN, number=2, state="failed")
    with pytest.raises(UsageError, match="first-1 before it has not succeeded; resume that one"):
        prepare(record, "failed", [])


def test_the_record_keeps_how_it_ended_before(storage):
    record = begin(storage, "model-1", TRAIN, number=1, state="stopped", step=7)
    record.ask_to_stop()
    record.reopen("ts-model-1-2", {**TRAIN, "steps": 50})
    assert (record.result, record.asked_to_stop) == (None, False)
    facts = record.job
    assert (facts["submission_id"], facts["job"]["steps"]) == ("ts-model-1-2", 50)
    assert facts["before"][0]["submission_id"] == "ts-days-1"
    assert facts["before"][0]["result"]["step"] == 7


@pytest.mark.parametrize("before", [{}, {"cluster": {"url": "http://old:8265", "local": None}}])
def test_a_submission_that_the_cluster_refused_leaves_the_record_as_it_was(storage, before):
    record = begin(storage, "model-1", TRAIN, number=1, state="stopped", step=7)
    record.begin(**{**{key: record.job[key] for key in record.job if key != "run_id"}, **before})
    facts, result = record.job, record.result
    record.reopen("ts-model-1-2", {**TRAIN, "steps": 50}, cluster={"url": "http://new:8265"}, handed_over_at=LATER)
    assert (record.job["cluster"], record.job["handed_over_at"]) == ({"url": "http://new:8265"}, LATER)
    record.close_again()
    assert (record.job, record.result) == ({**facts, "before": []}, result)


def test_an_auto_that_a_change_says_is_answered_before_the_run_goes_on(storage):
    record = begin(storage, "model-1", TRAIN, number=1, state="stopped")
    changes = ["workers.gpus=1", "workers.gpu_type=T4", "engine.zero_stage=auto", "workers.per_device_batch_size=auto"]
    (one,) = prepare(record, "stopped", changes).planned.loaded
    assert one.job.engine.zero_stage == 0
    assert one.job.workers.per_device_batch_size == 4
