"""A training whose settings change in the middle is, bit for bit, what a population's members did in turn."""

import dataclasses

import pytest
import torch

from job_texts import TUNE, changed
from prepared_on_disk import prepared
from trainshed.record.checkpoints import path_of
from trainshed.record.journal import read_lines
from trainshed.record.storage import Storage
from trainshed.runtime.training.host import BareHost, World
from trainshed.runtime.training.worker import run_worker
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.spec.document.override import override
from trainshed.spec.load import job_from_data
from trainshed.spec.training.changes import Change

TRAINING = job_from_data(
    changed(
        TUNE,
        train__model={"kind": "gpt2", "layers": 1, "heads": 1, "width": 8},
        train__engine={"kind": "ddp"},
        train__workers={"count": 1, "per_device_batch_size": 4},
        train__global_batch_size=4,
        train__steps=9,
        train__validation={"every_steps": 3},
        train__checkpoint={"every_steps": 3, "keep": 4},
        train__self_test=False,
    )
).train
FIRST = {"optimizer.learning_rate": 0.01, "regularization.label_smoothing": 0.0, "optimizer.weight_decay": 0.0}
SECOND = {"optimizer.learning_rate": 0.03, "regularization.label_smoothing": 0.3, "optimizer.weight_decay": 0.5}
THIRD = {"optimizer.learning_rate": 0.02, "regularization.label_smoothing": 0.1, "optimizer.weight_decay": 0.9}


@pytest.fixture
def alone(group_of_one):
    return BareHost(World(0, 1, torch.device("cpu")))


def test_a_training_with_changes_replays_every_setting_of_a_population(tmp_path, alone):
    storage = Storage.open(tmp_path)
    data = (prepared(storage, "text", [1, 2, 3, 5, 8]).result or {})["data"]

    def trained(folder, training):
        plan = WorkerSpec(training.model_dump(mode="json"), storage.uri, data, folder, export=False)
        run_worker(plan, alone)
        return [figures(row) for row in read_lines(storage, f"{folder}/metrics.jsonl")]

    members = []
    for number, (begins, settings) in enumerate([(0, FIRST), (3, SECOND), (6, THIRD)]):
        folder = f"member-{number}"
        if begins:  # it goes on from the former one's checkpoint, as a member that takes over
            storage.upload(tmp_path / path_of(f"member-{number - 1}", begins), path_of(folder, begins))
        members.append(dict(enumerate(trained(folder, override(TRAINING, settings)), 1 + begins)))
    expected = [members[0][step] for step in (1, 2, 3)] + [members[1][step] for step in (4, 5, 6)]
    expected += [members[2][step] for step in (7, 8, 9)]
    assert members[0][5] != members[1][5] != members[2][8], "the settings make no difference"

    changes = (Change(step=3, settings=SECOND), Change(step=6, settings=THIRD))
    replay = override(TRAINING, FIRST).model_copy(update={"changes": changes})
    assert trained("replay", replay) == expected

    for step in (6, 9):  # it is cut off in its second stretch, whose checkpoints after step 3 are gone
        storage.delete(path_of("replay", step))
    assert trained("replay", replay) == expected


def figures(row):
    return {key: row[key] for key in ("step", "train_loss", "learning_rate", "validation_loss") if key in row}


def test_a_training_that_ends_by_its_own_rule_makes_no_later_change(tmp_path, alone):
    storage = Storage.open(tmp_path)
    data = (prepared(storage, "text", [1, 2, 3, 5, 8]).result or {})["data"]
    stops = override(TRAINING, {"regularization.early_stopping": {"patience": 1, "min_delta": 100.0}})
    whole = stops.model_copy(update={"changes": (Change(step=8, settings=SECOND),)})
    plan = WorkerSpec(whole.model_dump(mode="json"), storage.uri, data, "stops", export=False)
    for _ in range(2):
        last = run_worker(dataclasses.replace(plan), alone).last.values
        assert [row["step"] for row in read_lines(storage, "stops/metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
        assert last["step"] in (3, 6)
