"""A training that begins with another one's checkpoint: its weights, in any engine, and a fresh optimizer."""

import dataclasses

import pytest
import torch

from forking import run_workers
from job_texts import TUNE, changed
from plan_worker import follow
from prepared_on_disk import prepared
from trainshed.errors import PlatformError, SpecError, UsageError
from trainshed.record.checkpoints import all_checkpoints
from trainshed.record.journal import read_lines
from trainshed.record.results import InitOrigin, WeightsOrigin
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.weights import of_checkpoint
from trainshed.runtime.training.host import BareHost, World
from trainshed.runtime.training.worker import run_worker
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.spec.document.override import override
from trainshed.spec.load import job_from_data

FRESH = job_from_data(
    changed(
        TUNE,
        train__model={"kind": "gpt2", "layers": 2, "heads": 2, "width": 16, "dropout": 0.0},
        train__engine={"kind": "ddp"},
        train__workers={"count": 1, "per_device_batch_size": 2},
        train__global_batch_size=4,
        train__steps=6,
        train__optimizer={"kind": "adamw", "learning_rate": 0.01},
        train__schedule={"kind": "constant"},
        train__validation={"every_steps": 3},
        train__checkpoint={"every_steps": 3, "keep": 3},
        train__self_test=False,
    )
).train
SOURCE = "runs/first-1"
LATER = [
    ({"kind": "ddp"}, 1),
    ({"kind": "ddp"}, 2),
    ({"kind": "fsdp"}, 2),
    ({"kind": "deepspeed", "zero_stage": 0}, 2),
    ({"kind": "deepspeed", "zero_stage": 1}, 2),
    ({"kind": "deepspeed", "zero_stage": 2}, 1),
    ({"kind": "deepspeed", "zero_stage": 3}, 2),
]


def plan_of(storage, data, training, folder, **origins):
    said = {reference: origin.as_json() for reference, origin in origins.items()}
    return WorkerSpec(training.model_dump(mode="json"), storage.uri, data, folder, export=True, weights=said)


def followed(folder, workers, *plans):
    run_workers(follow, workers, folder / f"rendezvous-{workers}", plans, logs=folder)


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A storage with data, a training of six steps under DDP, and one that begins with its export."""
    folder = tmp_path_factory.mktemp("storage")
    storage = Storage.open(folder)
    data = prepared(storage, "text", [1, 2, 3, 5, 8]).outcome.data
    export = WeightsOrigin(run_id="first-1", model=f"{SOURCE}/model")
    reference = override(FRESH, {"model": {"kind": "pretrained", "name_or_path": "run://first"}, "seed": 3})
    first = plan_of(storage, data, FRESH, SOURCE)
    followed(folder, 1, first, plan_of(storage, data, reference, "runs/reference-1", **{"run://first": export}))
    return folder, storage, data


def losses(storage, folder):
    return [row["train_loss"] for row in read_lines(storage, f"{folder}/metrics.jsonl")]


def begins(engine, workers, **more):
    settings = {"engine": engine, "workers.count": workers, "seed": 3, "init_from": "run://first", **more}
    return override(FRESH, settings)


ORIGIN = {"run://first": InitOrigin(run_id="first-1", init_step=6)}


@pytest.mark.parametrize(("engine", "workers"), LATER, ids=str)
def test_it_trains_as_from_the_export_in_any_engine_and_number_of_workers(there, tmp_path, engine, workers):
    _, storage, data = there
    folder = f"runs/{tmp_path.name.replace('_', '-')}"
    followed(tmp_path, workers, plan_of(storage, data, begins(engine, workers), folder, **ORIGIN))
    assert losses(storage, folder) == pytest.approx(losses(storage, "runs/reference-1"), rel=1e-5)
    assert losses(storage, folder)[0] < 0.9 * losses(storage, SOURCE)[0]
    notes = [line.get("message") for line in read_lines(storage, f"{folder}/notes.jsonl")]
    assert "begins with the weights of first-1 after step 6" in notes


def test_an_earlier_checkpoint_may_be_meant(there, group_of_one):
    _, storage, data = there
    origin = {"run://first@3": InitOrigin(run_id="first-1", init_step=3)}
    training = begins({"kind": "ddp"}, 1, init_from="run://first@3", steps=3, **{"optimizer.learning_rate": 1e-12})
    run_worker(plan_of(storage, data, training, "runs/earlier-1", **origin), alone())
    rows = {row["step"]: row for row in read_lines(storage, f"{SOURCE}/metrics.jsonl")}
    assert rows[3]["validation_loss"] != pytest.approx(rows[6]["validation_loss"], rel=1e-3)
    row = read_lines(storage, "runs/earlier-1/metrics.jsonl")[2]
    assert row["validation_loss"] == pytest.approx(rows[3]["validation_loss"], rel=1e-5)


def test_a_training_that_has_begun_goes_on_from_its_own_checkpoint_also_where_the_other_is_gone(there, group_of_one):
    _, storage, data = there
    plan = plan_of(storage, data, begins({"kind": "ddp"}, 1, steps=3), "runs/goes-1", **ORIGIN)
    run_worker(plan, alone())
    longer = begins({"kind": "ddp"}, 1, steps=6).model_dump(mode="json")
    nowhere = {"run://first": {"run_id": "gone-1", "init_step": 6}}
    run_worker(dataclasses.replace(plan, training=longer, weights=nowhere), alone())
    assert len(losses(storage, "runs/goes-1")) == 6


def alone():
    return BareHost(World(0, 1, torch.device("cpu")))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model.width": 32}, "it is of another model"),
        ({"model.layers": 3}, "it is of another model"),
        ({"model.layers": 1}, "that the model does not have; it is of another model"),
        ({"model.kind": "llama"}, "it is of another model"),
    ],
)
def test_a_model_of_another_shape_is_refused(there, group_of_one, changes, said):
    _, storage, data = there
    training = begins({"kind": "ddp"}, 1, **changes)
    with pytest.raises(PlatformError, match=said):
        run_worker(plan_of(storage, data, training, "runs/shape-1", **ORIGIN), alone())


def test_a_checkpoint_with_a_wrong_byte_is_refused(there, tmp_path, group_of_one):
    folder, _, data = there
    storage = Storage.open(tmp_path)
    for part in ("runs/first-1/checkpoints", data):
        storage.upload(folder / part, part)
    saved = next(one for one in all_checkpoints(storage, SOURCE) if one.step == 6)
    content = bytearray(storage.read(f"{saved.path}/{saved.files[0]}"))
    content[-3] ^= 4
    storage.write(f"{saved.path}/{saved.files[0]}", bytes(content))
    with pytest.raises(PlatformError, match=r"init_from: .*its hash is"):
        run_worker(plan_of(storage, data, begins({"kind": "ddp"}, 1), "runs/second-1", **ORIGIN), alone())


def test_the_newest_run_that_has_the_checkpoint_is_meant(there):
    _, storage, _ = there
    empty = Record(storage, "first-2")
    first = Record(storage, "first-1")
    first.begin({"kind": "train", "name": "first"}, submission_id="ts-1", created_at="2026-11-20T00:00:00Z", number=0)
    assert of_checkpoint([empty, first], None, "run://first") == InitOrigin(run_id="first-1", init_step=6)
    assert of_checkpoint([empty, first], 3, "run://first@3") == InitOrigin(run_id="first-1", init_step=3)
    with pytest.raises(UsageError, match=r"run://first@5: no such checkpoint is kept; there are those of steps 3, 6"):
        of_checkpoint([empty, first], 5, "run://first@5")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"kind": "pretrained", "name_or_path": "org/model"}}, "init_from: the model is pretrained"),
        ({"lora": {"rank": 2}}, "init_from: a checkpoint holds what is trained, and with lora"),
        ({"freeze": ["transformer.wte.*"]}, "init_from: a checkpoint holds what is trained, and with freeze"),
        ({"init_from": "run://first@0"}, "say run://NAME, or run://NAME@STEP for one of its checkpoints"),
        ({"init_from": "small@1"}, "say run://NAME, or run://NAME@STEP for one of its checkpoints"),
    ],
)
def test_what_cannot_go_with_it_is_refused(changes, said):
    with pytest.raises(SpecError, match=said):
        override(FRESH, {"init_from": "run://first", **changes})
