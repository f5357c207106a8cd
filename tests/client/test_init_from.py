"""A training that begins with another one's checkpoint: found once, refused where the model cannot be of its shape."""

import pytest

from job_texts import PREPARE, TRAIN, TUNE, changed
from prepared_on_disk import prepared
from results_on_disk import finished
from submitting import checked, faults, loaded
from trainshed.client.bound import PlannedModel
from trainshed.client.plan import plan
from trainshed.errors import SpecError
from trainshed.record.bound import bind as bind_data
from trainshed.record.checkpoints import path_of
from trainshed.record.run import Record
from trainshed.record.storage import Storage


def trained(storage, data, *, day, steps=(), state="stopped", **result):
    """A run of the training `first` with checkpoints after these steps."""
    run = Record(storage, f"first-26112{day}-000001-abcdef01")
    created = {"submission_id": "ts-1", "created_at": f"2026-11-2{day}T00:00:01.000+00:00", "number": 0}
    run.begin(changed(TRAIN, name="first"), **created)
    bind_data(run, {"run://text": data})
    for step in steps:
        path = path_of(run.at(), step)
        storage.write_json(f"{path}/manifest.json", {"step": step, "metrics": {}, "files": {}})
    finished(run, state, **result)
    return run


@pytest.fixture
def storage(tmp_path):
    """Data and three runs of one training: one that ended, one that was stopped, and one that came to nothing."""
    storage = Storage.open(tmp_path / "storage")
    data = prepared(storage, "text", 1)
    exported = {"metrics": {}, "model": "runs/first/model", "checkpoint": "checkpoints/step-0000200"}
    trained(storage, data, day=1, steps=(100, 200, 300), state="succeeded", **exported)
    trained(storage, data, day=2, steps=(0, 100, 150))
    trained(storage, data, day=3, steps=(0,), state="failed")
    return storage


@pytest.mark.parametrize(
    ("reference", "day", "step"),
    [
        ("run://first", 2, 150),
        ("run://first@100", 2, 100),
        ("run://first@300", 1, 300),
        ("run://first-261121-000001-abcdef01", 1, 200),  # what it exported was not its last step
        ("run://first-261121-000001-abcdef01@300", 1, 300),
    ],
)
def test_the_checkpoint_is_found_when_the_job_is_submitted(storage, tmp_path, reference, day, step):
    made = plan(checked(loaded(tmp_path, changed(TRAIN, init_from=reference)), storage))
    origin = made.weights["model"][reference]
    assert (origin.run_id, origin.init_step) == (f"first-26112{day}-000001-abcdef01", step)
    assert made.plans[0].cost.parameters


def test_a_step_that_is_not_kept_is_refused_at_its_line(storage, tmp_path):
    ((line, key, message),) = faults(tmp_path, storage, changed(TRAIN, init_from="run://first@7"))
    assert (tmp_path / "job.yaml").read_text().splitlines()[line - 1] == "init_from: run://first@7"
    assert (key, message) == (
        "init_from",
        "run://first@7: no such checkpoint is kept; there are those of steps 100, 150",
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model__width": 64}, "run://first: its model has width 32, this one 64"),
        ({"model__layers": 3}, "run://first: its model has layers 2, this one 3"),
        (
            {"model": {"kind": "llama", "layers": 2, "heads": 2, "width": 32}},
            "run://first: its model is a gpt2, this one a llama",
        ),
    ],
)
def test_a_model_of_another_shape_is_refused_at_its_line(storage, tmp_path, changes, said):
    job = changed(TRAIN, init_from="run://first", **changes)
    assert [(key, message) for _, key, message in faults(tmp_path, storage, job)] == [("init_from", said)]
    before = (PREPARE, changed(TRAIN, name="first"), changed(job, name="on"))
    assert [(key, message) for _, key, message in faults(tmp_path, storage, *before)] == [("init_from", said)]


def test_dropout_is_no_shape_and_a_document_before_may_be_meant(storage, tmp_path):
    jobs = (
        PREPARE,
        changed(TRAIN, name="before"),
        changed(TRAIN, name="on", init_from="run://before", model__dropout=0.3),
        changed(TRAIN, name="at", init_from="run://before@5", data="run://text"),
    )
    bound = checked(loaded(tmp_path, *jobs), storage)
    assert [one.weights for one in bound.jobs[2:]] == [PlannedModel(bound.jobs[1].loaded)] * 2
    assert plan(bound).weights["on"] == {}


def test_other_tokens_than_those_it_was_trained_on_are_refused(storage, tmp_path):
    prepared(storage, "other", 1, text="an owl in an oak over and over again")
    ((_, key, message),) = faults(tmp_path, storage, changed(TRAIN, init_from="run://first", data="run://other"))
    assert key == "init_from"
    assert message.startswith("run://first: it has another tokenizer than the data run://other; prepare it with")


def test_all_trials_of_a_sweep_begin_with_one_checkpoint(storage, tmp_path):
    sweep = changed(TUNE, train__init_from="run://first@100")
    made = plan(checked(loaded(tmp_path, sweep), storage))
    assert made.weights["sweep"]["run://first@100"].init_step == 100
    assert made.loaded[0].job.train.init_from == "run://first@100"


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"model.width": {"choice": [32, 64]}}, "train.init_from gives weights of one shape, and model.width may"),
        ({"init_from": {"choice": ["run://first", "run://other"]}}, "all trials of a sweep have the same init_from"),
    ],
)
def test_what_a_sweep_cannot_search_with_it_is_refused(tmp_path, space, said):
    with pytest.raises(SpecError, match=said):
        loaded(tmp_path, changed(TUNE, train__init_from="run://first", space=space))
    loaded(tmp_path, changed(TUNE, train__init_from="run://first", space={"model.dropout": {"uniform": [0, 0.3]}}))
