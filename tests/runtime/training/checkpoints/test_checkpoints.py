"""A checkpoint is complete or invisible, whatever ends the process that writes it; a wrong byte is passed by."""

import json
import math
import os
import random
import signal
import time
from functools import partial

import pytest
import torch
from pydantic import TypeAdapter
from safetensors import safe_open

from tiny_training import TinyTask, numbers, tiny_training
from trainshed.errors import PlatformError
from trainshed.record.checkpoints import Checkpoint, all_checkpoints, fault_of, kept, prune
from trainshed.record.events import facts_of
from trainshed.record.facts import CheckpointFacts
from trainshed.record.storage import Storage
from trainshed.runtime.training import engines
from trainshed.runtime.training.checkpoints.keeper import Keeper
from trainshed.runtime.training.checkpoints.progress import Progress
from trainshed.runtime.training.checkpoints.snapshot import Snapshot
from trainshed.runtime.training.host import World
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.spec.training.engines import Ddp, Fsdp
from trainshed.spec.training.optimizers import Optimizer
from trainshed.spec.training.saving import Checkpoints

ALONE = World(0, 1, torch.device("cpu"))
KILLS = [40, pytest.param(200, marks=pytest.mark.faults)]


def engine_of(training):
    torch.manual_seed(training.seed)
    task = TinyTask()
    return engines.build(training, task.make_model, partial(build_optimizer, training.optimizer), ALONE.device)


def stepped(engine, task, times):
    """The engine after so many steps on the same batch."""
    for _ in range(times):
        batch = task.batch({"tokens": numbers(4)}, keys=[])
        engine.backward(task.loss(engine.forward, batch, label_smoothing=0.0) / task.weight(batch))
        engine.step(0.01)
    return engine


def weights(engine):
    return {piece.name: piece.values.clone() for piece in engine.pieces()}


class Said(list):
    def __call__(self, event):
        facts = facts_of(event)
        self.append((facts.pop("event"), facts))


def keeper_in(folder, said=None, **policy):
    return Keeper(Storage.open(folder), "run", Checkpoints(**policy), ALONE, said if said is not None else Said())


@pytest.mark.parametrize("spec", [Ddp(), Fsdp()], ids=lambda spec: spec.kind)
def test_what_was_saved_comes_back_optimizer_state_included(spec, group_of_one, tmp_path):
    training = tiny_training(engine=spec)
    engine = stepped(engine_of(training), TinyTask(), 3)
    saved = weights(engine)
    keeper = keeper_in(tmp_path)
    keeper.save(engine, Progress(3, "ab" * 8, (7,)), {"train_loss": 1.0})
    ahead = weights(stepped(engine, TinyTask(), 2))
    keeper.close()

    other = engine_of(training)
    assert keeper_in(tmp_path).resume(other) == Progress(3, "ab" * 8, (7,))
    assert all(torch.equal(weights(other)[name], saved[name]) for name in saved)
    after = weights(stepped(other, TinyTask(), 2))
    assert all(torch.equal(after[name], ahead[name]) for name in ahead)


def test_the_safetensors_library_reads_a_part(tmp_path):
    engine = stepped(engine_of(tiny_training()), TinyTask(), 1)
    keeper = keeper_in(tmp_path)
    keeper.save(engine, Progress(1), {})
    keeper.close()
    found = next(iter(all_checkpoints(Storage.open(tmp_path), "run")))
    with safe_open(str(tmp_path / found.path / found.files[0]), framework="pt") as file:
        for piece in engine.pieces():
            assert torch.equal(file.get_tensor(f"weights/{piece.name}"), piece.values)
            assert f"state/exp_avg/{piece.name}" in file.keys()  # noqa: SIM118


def test_a_flipped_byte_is_found_and_the_checkpoint_before_is_used(tmp_path):
    engine, said = engine_of(tiny_training()), Said()
    keeper = keeper_in(tmp_path, keep=3)
    keeper.save(stepped(engine, TinyTask(), 1), Progress(1), {})
    at_one = weights(engine)
    keeper.save(stepped(engine, TinyTask(), 1), Progress(2), {})
    keeper.close()
    newest = next(iter(all_checkpoints(Storage.open(tmp_path), "run")))
    file = tmp_path / newest.path / newest.files[0]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    resumed = keeper_in(tmp_path, said).resume(engine)
    assert resumed == Progress(1)
    assert all(torch.equal(weights(engine)[name], at_one[name]) for name in at_one)
    event, facts = said[0]
    assert (event, facts["step"]) == ("checkpoint_refused", 2)
    assert "its hash is" in facts["cause"]
    assert (said[1][0], said[1][1]["step"]) == ("resumed", 1)


@pytest.mark.parametrize("harm", ["truncate", "delete"])
def test_a_part_that_is_short_or_gone_is_passed_over(tmp_path, harm):
    engine = engine_of(tiny_training())
    keeper = keeper_in(tmp_path)
    for step in (1, 2):
        keeper.save(engine, Progress(step), {})
    keeper.close()
    newest = next(iter(all_checkpoints(Storage.open(tmp_path), "run")))
    file = tmp_path / newest.path / newest.files[0]
    if harm == "truncate":
        os.truncate(file, file.stat().st_size - 1)
    else:
        file.unlink()
    assert fault_of(newest, newest.files[0])
    assert keeper_in(tmp_path).resume(engine) == Progress(1)


def wider():
    return TinyTask(width=12).make_model()


def with_more():
    model = TinyTask().make_model()
    model.more = torch.nn.BatchNorm1d(4)
    return model


def frozen_in_part():
    model = TinyTask().make_model()
    model.hidden.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("saved", "resumed", "said"),
    [
        (TinyTask().make_model, wider, "elements of"),
        (TinyTask().make_model, with_more, r"lacks buffer more\.num_batches_tracked and 2 more"),
        (with_more, TinyTask().make_model, r"holds buffer more\.num_batches_tracked and 4 more that"),
        (TinyTask().make_model, frozen_in_part, r"holds hidden\.bias and 1 more that"),
        (
            frozen_in_part,
            TinyTask().make_model,
            r"holds 0 of 8 elements of hidden\.bias|holds 0 of 64 elements of hidden",
        ),
    ],
)
def test_another_model_is_refused_by_name(saved, resumed, said, tmp_path):
    def engine(make):
        torch.manual_seed(0)
        training = tiny_training()
        return engines.build(training, make, partial(build_optimizer, training.optimizer), ALONE.device)

    keeper = keeper_in(tmp_path)
    keeper.save(engine(saved), Progress(1), {})
    keeper.close()
    with pytest.raises(PlatformError, match=said):
        keeper_in(tmp_path).resume(engine(resumed))


def test_a_save_that_cannot_be_written_is_said_and_the_next_one_counts(tmp_path):
    engine, said = engine_of(tiny_training()), Said()
    keeper = keeper_in(tmp_path, said)
    keeper.save(engine, Progress(1), {})
    keeper._saver.wait()
    blocked = tmp_path / "run" / "checkpoints" / "step-0000002"
    blocked.write_text("a file where a folder should be")
    keeper.save(engine, Progress(2), {})
    keeper._saver.wait()
    assert [event for event, _ in said] == ["checkpoint", "checkpoint_failed"]
    keeper.save(engine, Progress(3), {})
    keeper.close()
    assert [one.step for one in all_checkpoints(Storage.open(tmp_path), "run")] == [3, 1]


def test_the_last_save_must_be_there(tmp_path):
    keeper = keeper_in(tmp_path)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "step-0000001").write_text("in the way")
    keeper.save(engine_of(tiny_training()), Progress(1), {})
    with pytest.raises(OSError, match="checkpoint of step 1"):
        keeper.close()


def test_a_manifest_says_how_far_the_training_was_in_the_keys_that_it_always_had(tmp_path):
    progress = Progress(3, "ab" * 8, (1,), (2.0, 1.5))
    metrics = {"validation_loss": 1, "rate": math.nan, "memory": {"ratio": 1.0}}
    engine, keeper = engine_of(tiny_training()), keeper_in(tmp_path)
    keeper.save(engine, progress, metrics)
    keeper.close()
    storage = Storage.open(tmp_path)
    said = storage.read_json("run/checkpoints/step-0000003/manifest.json")
    assert set(said) == {"step", "order_hash", "left_out", "held_out", "metrics", "workers", "files"}
    assert [set(file) for file in said["files"].values()] == [{"sha256", "bytes"}]
    assert json.dumps(said["metrics"]) == json.dumps(metrics)
    assert keeper_in(tmp_path).resume(engine) == progress


def made_up(storage, step, **metrics):
    path = f"run/checkpoints/step-{step:07d}"
    manifest = CheckpointFacts(step=step, metrics=metrics, files={})
    storage.write_json(f"{path}/manifest.json", manifest.as_json())
    return Checkpoint(storage, path, manifest)


def test_the_newest_and_the_best_are_kept_and_unfinished_attempts_go(tmp_path):
    storage = Storage.open(tmp_path)
    losses = {10: 3.0, 20: 1.0, 30: 2.0, 40: 2.5, 50: 2.6}
    made = [made_up(storage, step, validation_loss=loss) for step, loss in losses.items()]
    made.append(made_up(storage, 45))
    storage.write("run/checkpoints/step-0000033/worker-00000-ab.safetensors", b"half")
    storage.write("run/checkpoints/step-0000060/worker-00000-ab.safetensors", b"under way")
    assert kept(made, last=2, best=1, metric="validation_loss") == {45, 50, 20}
    assert sorted(prune(storage, "run", last=2, best=1, metric="validation_loss")) == [10, 30, 40]
    assert storage.names("run/checkpoints") == [f"step-00000{step}" for step in (20, 45, 50, 60)]


@pytest.mark.parametrize("kills", KILLS)
def test_kills_during_a_save_leave_a_checkpoint_that_loads(kills, tmp_path):
    """Each child goes on from what is there and saves until it is killed, at a moment drawn at random (goal P6)."""
    training = tiny_training(width=64)
    engine = engine_of(training)
    rng = random.Random(0)
    newest = 0
    for _ in range(kills):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _save_until_killed(tmp_path, engine, newest, writing)
        os.close(writing)
        assert os.read(reading, 1)  # from here on it is always saving
        os.close(reading)
        time.sleep(rng.uniform(0.0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = keeper_in(tmp_path).resume(engine)
        assert found.step > newest
        values = torch.cat([piece.values for piece in engine.pieces()])
        assert torch.all(values == found.step)
        newest = found.step


def _save_until_killed(folder, engine, step, writing):
    """In the child: step after step, every weight is the step's number. Says when the first save is through."""
    try:
        keeper = keeper_in(folder)
        while True:
            step += 1
            for piece in engine.pieces():
                piece.values.fill_(step)
            keeper.save(engine, Progress(step), {})
            if writing:
                keeper._saver.wait()
                os.write(writing, b"!")
                writing = 0
    finally:
        os._exit(1)


def test_a_snapshot_is_the_state_when_it_was_taken(tmp_path):
    engine = engine_of(tiny_training())
    before = weights(engine)
    snapshot = Snapshot(0, 1)
    snapshot.take(engine)
    for piece in engine.pieces():
        piece.values.zero_()
    with open(tmp_path / "part.safetensors", "wb") as file:
        import hashlib

        snapshot.write_to(file, hashlib.sha256())
    with safe_open(str(tmp_path / "part.safetensors"), framework="pt") as file:
        assert all(torch.equal(file.get_tensor(f"weights/{name}"), before[name]) for name in before)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adagrad", "rmsprop", "adafactor", "lion", "muon"])
def test_every_optimizer_goes_on_where_it_was(tmp_path, kind):
    optimizer = TypeAdapter(Optimizer).validate_python({"kind": kind, "learning_rate": 0.01})
    training = tiny_training(optimizer=optimizer)
    engine = stepped(engine_of(training), TinyTask(), 3)
    keeper = keeper_in(tmp_path)
    keeper.save(engine, Progress(3), {})
    ahead = weights(stepped(engine, TinyTask(), 3))
    keeper.close()
    other = engine_of(training)
    assert keeper_in(tmp_path).resume(other) == Progress(3)
    after = weights(stepped(other, TinyTask(), 3))
    assert all(torch.equal(after[name], ahead[name]) for name in ahead)


def test_going_back_to_the_beginning_forgets_the_optimizers_steps(tmp_path):
    engine = engine_of(tiny_training())
    keeper = keeper_in(tmp_path)
    keeper.save(engine, Progress(0), {})
    once = weights(stepped(engine, TinyTask(), 2))
    assert keeper.resume(engine) == Progress(0)
    again = weights(stepped(engine, TinyTask(), 2))
    assert all(torch.equal(again[name], once[name]) for name in once)
