"""The loop in one process: order, what goes back and around, what a checkpoint makes unseen."""

import json
import math

import pytest
import torch

from engine_worker import Killed, KillingHost
from tiny_training import VOCAB, ExistingTask, TinySamples, TinyTask, tiny_training
from trainshed.errors import DivergedError, PlatformError
from trainshed.record.events import facts_of
from trainshed.record.storage import Storage
from trainshed.runtime.training.checkpoints.keeper import Keeper
from trainshed.runtime.training.host import BareHost, World
from trainshed.runtime.training.loop.loop import train
from trainshed.runtime.training.loop.loss_guard import LossGuard
from trainshed.runtime.training.loop.metric_log import MetricLog
from trainshed.runtime.training.loop.order import Order, batch_number, chained_hash
from trainshed.runtime.training.loop.setup import make_engine
from trainshed.runtime.training.loop.state import Splits
from trainshed.runtime.training.loop.validation import validate
from trainshed.spec.training.optimizers import AdamW
from trainshed.spec.training.regularization import EarlyStopping, Regularization
from trainshed.spec.training.saving import Checkpoints, Recovery, Validation
from trainshed.spec.training.tasks import Custom

ALONE = World(0, 1, torch.device("cpu"))
POISON = VOCAB - 1


class Told(list):
    def __call__(self, event):
        facts = facts_of(event)
        self.append((facts.pop("event"), facts))


class Stops(BareHost):
    """Told to stop after some steps."""

    def __init__(self, after):
        super().__init__(ALONE)
        self.after, self.at = after, 0

    def stepped(self, step):
        self.at = step

    def notice(self):
        return "stop" if self.at + 1 >= self.after else None


def run(folder, training, *, task=None, samples=None, host=None):
    """Metrics of every step, the last metrics, the events."""
    told, storage = Told(), Storage.open(folder)
    samples = samples or TinySamples(64)
    log = MetricLog(storage, "metrics.jsonl")
    keeper = Keeper(storage, ".", training.checkpoint, ALONE, told)
    splits = Splits(samples, TinySamples(8))
    task = task or TinyTask()
    engine = make_engine(training, task, ALONE, told)
    ended = train(training, task, splits, host or BareHost(ALONE), engine, metric_log=log, keeper=keeper, sink=told)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return rows, {**ended.last.values, **({"notice": ended.notice} if ended.notice else {})}, told


def test_what_a_task_remarks_of_its_weights_is_told(tmp_path):
    task = TinyTask()
    task.remarks = ("the head is new",)
    _, _, told = run(tmp_path, tiny_training(), task=task)
    assert ("log", {"message": "the head is new"}) in told


def test_the_loss_falls_and_every_step_has_a_row(tmp_path):
    rows, last, _ = run(tmp_path, tiny_training())
    assert [row["step"] for row in rows] == list(range(1, 61))
    assert rows[-1]["train_loss"] < 0.5 * rows[0]["train_loss"]
    assert last["validation_loss"] < rows[0]["train_loss"]
    assert all(f"{stage}_s" in rows[3] for stage in ("input", "forward", "backward", "step", "checkpoint"))


TASKS = [TinyTask, ExistingTask]


@pytest.mark.parametrize("task", TASKS)
def test_a_stopped_training_goes_on_to_the_bit(tmp_path, task):
    training = tiny_training(checkpoint=Checkpoints(every_steps=7))
    whole, _, _ = run(tmp_path / "whole", training, task=task())
    cut, last, _ = run(tmp_path / "cut", training, task=task(), host=Stops(after=25))
    assert (len(cut), last["notice"]) == (25, "stop")
    resumed, _, told = run(tmp_path / "cut", training, task=task())
    assert ("resumed", 25) in [(event, facts.get("step")) for event, facts in told]
    assert curve(resumed) == curve(whole)
    assert [row["order_hash"] for row in resumed] == [row["order_hash"] for row in whole]


def curve(rows):
    return [(row["train_loss"], row["grad_norm"], row.get("validation_loss")) for row in rows]


@pytest.mark.parametrize("every_steps", [7, 60])
@pytest.mark.parametrize("task", TASKS)
def test_a_training_killed_at_step_90_and_resumed_at_80_is_the_one_that_was_not(tmp_path, task, every_steps):
    """A validation comes before the checkpoint, after it, or between it and the kill."""
    validation = Validation(every_steps=every_steps, max_samples=8)
    training = tiny_training(checkpoint=Checkpoints(every_steps=20), validation=validation, steps=110)
    whole, _, _ = run(tmp_path / "whole", training, task=task())
    with pytest.raises(Killed):
        run(tmp_path / "cut", training, task=task(), host=KillingHost(ALONE, Storage.open(tmp_path / "cut"), 90, 20))
    resumed, _, told = run(tmp_path / "cut", training, task=task())
    assert ("resumed", 80) in [(event, facts.get("step")) for event, facts in told]
    assert curve(resumed) == curve(whole)


@pytest.mark.parametrize("every_steps", [1, 7, 1000])
def test_how_often_is_validated_changes_no_step(tmp_path, every_steps):
    often = Validation(every_steps=every_steps, max_samples=8)
    rows, _, _ = run(tmp_path / "often", tiny_training(validation=often), task=ExistingTask())
    once, _, _ = run(tmp_path / "once", tiny_training(validation=Validation(every_steps=60)), task=ExistingTask())
    undropped, _, _ = run(tmp_path / "undropped", tiny_training(), task=TinyTask())
    assert [row["train_loss"] for row in rows] == [row["train_loss"] for row in once]
    assert rows[0]["train_loss"] != pytest.approx(undropped[0]["train_loss"], rel=1e-4)


class Fails(TinySamples):
    """Held-out samples that cannot be read."""

    def take(self, ids):
        raise OSError("a disk is full")


def test_an_engine_learns_from_when_it_is_made_after_a_restore_and_after_a_validation_that_fails(tmp_path):
    training = tiny_training()
    keeper = Keeper(Storage.open(tmp_path), ".", training.checkpoint, ALONE, Told())
    task = ExistingTask()
    engine = make_engine(training, task, ALONE)
    train(training, task, Splits(TinySamples(64), TinySamples(8)), BareHost(ALONE), engine, keeper=keeper)
    assert engine.model.training
    engine.train(on=False)
    keeper.resume(engine)
    assert engine.model.training
    with pytest.raises(OSError, match="disk is full"):
        validate(training, ExistingTask(), Fails(8), engine, ALONE)
    assert engine.model.training


def poisoned(training, at_step):
    """Samples of which those of one step break the loss."""
    ids = Order(64, training.global_batch_size, training.seed).batch(at_step)
    return TinySamples(64, poisoned=[int(ids[0])], poison=POISON), sorted(map(int, ids))


@pytest.mark.parametrize("harm", [float("nan"), float("inf"), 1e4])
def test_a_poisoned_batch_is_left_out_and_the_run_finishes(tmp_path, harm):
    training = tiny_training(
        checkpoint=Checkpoints(every_steps=5),
        recovery=Recovery(attempts=8, spike_window=8, spike_sigmas=20.0),
        steps=40,
    )
    samples, ids = poisoned(training, at_step=12)
    rows, last, told = run(tmp_path, training, task=TinyTask(poison=POISON, harm=harm), samples=samples)
    assert [row["step"] for row in rows] == list(range(1, 41))
    assert all(math.isfinite(row["train_loss"]) for row in rows)
    assert last["validation_loss"] < rows[0]["train_loss"]
    rolled = [facts for event, facts in told if event == "rolled_back"]
    assert (rolled[0]["step"], rolled[0]["back_to"]) == (13, 10)
    assert sorted(rolled[0]["samples"]) == ids


def test_with_the_feature_off_a_poisoned_batch_ends_the_run(tmp_path):
    training = tiny_training(recovery=Recovery(attempts=0))
    samples, _ = poisoned(training, at_step=12)
    with pytest.raises(DivergedError, match=r"step 13: the loss is nan after 0 rollback"):
        run(tmp_path, training, task=TinyTask(poison=POISON), samples=samples)


def test_a_poison_in_every_batch_ends_after_the_attempts(tmp_path):
    training = tiny_training(recovery=Recovery(attempts=2))
    samples = TinySamples(64, poisoned=range(64), poison=POISON)
    with pytest.raises(DivergedError, match=r"after 2 rollback\(s\)"):
        run(tmp_path, training, task=TinyTask(poison=POISON), samples=samples)


class Steep(TinyTask):
    """From some step on the gradient overflows at a loss that is one: its factor is larger than the loss's."""

    def loss(self, forward, batch, *, label_smoothing):
        loss = super().loss(forward, batch, label_smoothing=label_smoothing)
        poisoned = bool((batch["input_ids"][:, 0] == POISON).any())
        return loss + (loss - loss.detach()) * 1e38 if poisoned else loss


@pytest.mark.parametrize("attempts", [0, 2])
def test_a_gradient_that_overflows_at_a_finite_loss_has_diverged_and_its_norm_is_named(tmp_path, attempts):
    training = tiny_training(recovery=Recovery(attempts=attempts))
    samples = TinySamples(64, poisoned=range(64), poison=POISON)
    said = rf"step 1: the norm of the gradient is inf at a loss of [\d.]+ after {attempts} rollback\(s\)"
    with pytest.raises(DivergedError, match=said):
        run(tmp_path, training, task=Steep(), samples=samples)


def test_a_gradient_that_overflows_once_is_gone_around_and_told_with_its_norm(tmp_path):
    training = tiny_training(checkpoint=Checkpoints(every_steps=5), recovery=Recovery(attempts=8), steps=40)
    samples, _ = poisoned(training, at_step=12)
    rows, _, told = run(tmp_path, training, task=Steep(), samples=samples)
    assert len(rows) == 40
    facts = next(facts for event, facts in told if event == "rolled_back")
    assert (facts["verdict"], facts["grad_norm"]) == ("not a number", "inf")
    assert math.isfinite(float(facts["loss"]))


def test_a_leap_that_comes_again_is_let_be(tmp_path):
    training = tiny_training(
        recovery=Recovery(attempts=1, spike_window=8, spike_sigmas=20.0), checkpoint=Checkpoints(every_steps=5)
    )
    order = Order(64, training.global_batch_size, training.seed)
    samples = TinySamples(64, poisoned=[int(order.batch(step)[0]) for step in (12, 15)], poison=POISON)
    rows, _, told = run(tmp_path, training, task=TinyTask(poison=POISON, harm=1e3), samples=samples)
    assert len(rows) == 60
    assert [event for event, _ in told].count("rolled_back") == 1


class Downwards(TinySamples):
    """What the training never sees: the better it counts up, the worse it is at this."""

    def take(self, ids):
        return {"tokens": self.blocks[ids][:, ::-1].copy()}


def early(*, restore_best):
    stopping = EarlyStopping(patience=2, restore_best=restore_best)
    return tiny_training(
        optimizer=AdamW(learning_rate=0.05),
        regularization=Regularization(early_stopping=stopping, ema_decay=0.5),
        validation=Validation(every_steps=5, max_samples=8),
        checkpoint=Checkpoints(every_steps=7, keep=1),
    )


@pytest.mark.parametrize(("restore_best", "step"), [(True, 5), (False, 15)])
def test_early_stopping_exports_the_best_weights_or_the_last(tmp_path, restore_best, step):
    training, told = early(restore_best=restore_best), Told()
    keeper = Keeper(Storage.open(tmp_path), ".", training.checkpoint, ALONE, told)
    log = MetricLog(Storage.open(tmp_path), "metrics.jsonl")
    splits = Splits(TinySamples(64), Downwards(8))
    task = TinyTask()
    engine = make_engine(training, task, ALONE, told)
    last = train(training, task, splits, BareHost(ALONE), engine, metric_log=log, keeper=keeper, sink=told).last.values
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = {row["step"]: row["validation_loss"] for row in rows if "validation_loss" in row}
    assert list(losses) == [5, 10, 15]
    assert min(losses, key=losses.get) == 5
    assert (last["step"], last["validation_loss"]) == (step, losses[step])
    found = validate(training, TinyTask(), splits.validation, engine, ALONE)
    assert found["loss"] == pytest.approx(losses[step], rel=1e-6)
    assert [event for event, _ in told].count("exports_best") == restore_best


def of_ones_own(*metrics):
    return tiny_training(task=Custom(path="mine:Tiny", metrics=metrics), validation=Validation(every_steps=5))


def test_a_task_of_ones_own_gives_its_loss_without_saying_so(tmp_path):
    rows, last, _ = run(tmp_path, of_ones_own())
    assert len(rows) == last["step"] > 5


def test_a_task_of_ones_own_that_lacks_a_metric_ends_at_its_first_validation(tmp_path):
    with pytest.raises(PlatformError, match="the meter of mine:Tiny gives no bleu, chrf; it gives loss"):
        run(tmp_path, of_ones_own("bleu", "loss", "chrf"))
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


def test_batches_left_out_are_passed_over_in_order():
    assert [batch_number(step, (2, 3, 7)) for step in range(6)] == [0, 1, 4, 5, 6, 8]
    assert [batch_number(step, ()) for step in range(3)] == [0, 1, 2]


def test_the_hash_tells_sequences_apart():
    order = Order(64, 4, 0)
    one = chained_hash(chained_hash("0" * 16, order.batch(0)), order.batch(1))
    other = chained_hash(chained_hash("0" * 16, order.batch(1)), order.batch(0))
    assert one != other
    assert one == chained_hash(chained_hash("0" * 16, Order(64, 4, 0).batch(0)), Order(64, 4, 0).batch(1))


def test_the_guard_wants_a_full_window_and_a_real_leap():
    guard = LossGuard(Recovery(spike_window=8, spike_sigmas=3.0))
    assert [guard.judge(loss, 1.0) for loss in (9.0, 1.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0)] == [None] * 8
    assert guard.judge(1000.0, 1.0) == "leap"
    assert guard.judge(float("inf"), 1.0) == guard.judge(1.0, float("nan")) == "not a number"
    quiet = LossGuard(Recovery(spike_window=8, spike_sigmas=3.0))
    assert [quiet.judge(2.0, 1.0) for _ in range(8)] == [None] * 8
    assert quiet.judge(2.5, 1.0) is None
    assert quiet.judge(3.5, 1.0) == "leap"
