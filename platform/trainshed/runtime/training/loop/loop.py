"""The training loop, read top to bottom. Every worker runs it; nothing here knows Ray.

A step is: take this step's samples from the global order, pass over this worker's share, add gradients, clip, apply.
All that a checkpoint must hold beside the engine's state is `Progress`: order, learning rate and random numbers are
functions of the step. A step whose loss is no number, or leaps, is taken back to the last checkpoint and its batch is
left out.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from trainshed.errors import DivergedError
from trainshed.record.events import ExportsBest, Log, RolledBack, Sink, StoppedEarly, to_nobody
from trainshed.runtime.tasks import Samples, Task
from trainshed.runtime.training import engines
from trainshed.runtime.training.checkpoints.keeper import Keeper
from trainshed.runtime.training.checkpoints.progress import Progress
from trainshed.runtime.training.engines import Engine
from trainshed.runtime.training.host import Host
from trainshed.runtime.training.loop.clock import StepClock
from trainshed.runtime.training.loop.loss_guard import LossGuard, Verdict
from trainshed.runtime.training.loop.memory_use import PlanCheck, peak_megabytes
from trainshed.runtime.training.loop.metric_log import MetricLog
from trainshed.runtime.training.loop.order import Ids, Order, batch_number, chained_hash
from trainshed.runtime.training.loop.self_test import check_weights_agree, self_test
from trainshed.runtime.training.loop.stepper import StepDone, Stepper, Watches
from trainshed.runtime.training.loop.utilisation import Utilisation
from trainshed.runtime.training.loop.validation import check_reported, validate
from trainshed.runtime.training.optim import regularization
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.spec.training.models import growth
from trainshed.spec.training.train import Training

log = logging.getLogger("trainshed.training")


@dataclass(frozen=True)
class Splits:
    """The samples that are learnt from, and those held out."""

    train: Samples
    validation: Samples
    test: Samples | None = None


def train(
    training: Training,
    task: Task,
    splits: Splits,
    host: Host,
    *,
    metric_log: MetricLog | None,
    keeper: Keeper | None,
    sink: Sink = to_nobody,
    until: int | None = None,
) -> tuple[Engine, dict[str, Any]]:
    """Trains to `training.steps`; the engine and the last metrics, the same on every worker.

    Goes on from the newest checkpoint of `keeper` (None: nothing is kept). `metric_log` is worker 0's, None on the
    others. Told to end, it saves first; the metrics then say so under `notice`. After step `until` it saves as well,
    and ends, for a training with other settings that goes on from there.

    Raises:
        DivergedError: the loss or its gradient is no number, and going back has not helped.
    """
    if training.self_test:
        self_test(training, host.world)
    torch.manual_seed(training.seed)
    engine = engines.build(
        training,
        task.make_model,
        partial(build_optimizer, training.optimizer, growth=growth(training.model)),
        host.world.device,
        make_in_parts=getattr(task, "make_in_parts", None),
    )
    for remark in getattr(task, "remarks", ()):
        sink(Log(message=remark))
    loop = _Loop(training, task, splits, host, engine, metric_log, keeper, sink, until or training.steps)
    return engine, loop.run()


class _Loop:
    """The parts of one training, and where it stands."""

    def __init__(
        self,
        training: Training,
        task: Task,
        splits: Splits,
        host: Host,
        engine: Engine,
        metric_log: MetricLog | None,
        keeper: Keeper | None,
        sink: Sink,
        until: int,
    ) -> None:
        self.until = until
        self.training, self.task, self.splits, self.host, self.engine = training, task, splits, host, engine
        self.metric_log, self.keeper, self.sink = metric_log, keeper, sink
        self.regularizers = regularization.apply(
            training.regularization, engine.model, engine.optimizer, lambda: self.progress.step
        )
        self.clock = StepClock(host.world.device)
        self.plan_check = PlanCheck(training, engine, host.world, sink)
        self.utilisation = Utilisation(training, engine, host.world)
        watches = Watches(self.clock, self.plan_check, self.utilisation)
        self.stepper = Stepper(training, task, splits.train, host, engine, self.regularizers, watches)
        self.order = Order(len(splits.train), training.global_batch_size, training.seed)
        self.guard = LossGuard(training.recovery)
        self.progress = Progress()
        self.rollbacks = 0
        self.unproven = training.self_test
        self.told_committed = 0

    def run(self) -> dict[str, Any]:
        """From where the newest checkpoint ended to the last step; the last metrics."""
        self._begin()
        metrics: dict[str, Any] = {"step": self.progress.step} if self.keeper is None else self.keeper.metrics
        began = time.perf_counter()
        while self.progress.step < self.until and not self._ends_early():
            ids = self.order.batch(batch_number(self.progress.step, self.progress.left_out))
            committed = self.keeper.committed_step() if self.keeper is not None else 0
            done = self.stepper.step(self.progress.step, ids, committed)
            # Under fp16 a norm that overflows is the loss scaler's business: it leaves the step out by itself.
            norm = 0.0 if self.training.precision == "fp16" else done.grad_norm
            verdict = self.guard.verdict(done.loss, norm)
            if verdict is not None and self._goes_back(verdict, ids, done):
                continue
            if self.unproven:
                check_weights_agree(self.engine, self.host.world)
                self.unproven = False
            step = self.progress.step + 1
            self.progress = replace(self.progress, step=step, order_hash=chained_hash(self.progress.order_hash, ids))
            took, began = time.perf_counter() - began, time.perf_counter()
            metrics = self._metrics(done, took)
            held_out = step % self.training.validation.every_steps == 0 or step == self.training.steps
            if held_out:
                metrics |= self._validate()
                log.info("step %d: loss %.4f, validation loss %.4f", step, done.loss, metrics["validation_loss"])
            if self.metric_log is not None:
                self.metric_log.row(**metrics)
            self._keep(done, metrics)
            if held_out:
                self.host.validated(metrics)  # a sweep may end the trial here: its row is written, its state is saved
            if done.notice is not None:
                metrics["notice"] = done.notice
                break
        if self.plan_check.facts is not None:
            metrics["memory"] = self.plan_check.facts
        if self.keeper is not None:
            self.keeper.close()
            self._tell_committed(self.keeper.saved_step)
        hands_over = self.training.steps > self.until <= self.progress.step
        if "notice" not in metrics and not hands_over:
            metrics |= self._back_to_the_best(metrics)
            self.regularizers.swap(self.engine.refresh)  # what is exported is what was validated
        return metrics

    def _validate(self) -> dict[str, float]:
        """The held-out metrics, of the averaged weights where an average is kept."""
        training, limit = self.training, self.training.validation.max_samples
        with self.regularizers.averaged(self.engine.refresh):
            found = validate(training, self.task, self.splits.validation, self.engine, self.host.world, limit=limit)
        if not self.progress.held_out:
            check_reported(training, found)
        self.progress = replace(self.progress, held_out=(*self.progress.held_out, found["loss"]))
        return {f"validation_{name}": value for name, value in found.items()}

    def _ends_early(self) -> bool:
        """Whether the validation losses so far end the training before its last step."""
        policy = self.training.regularization.early_stopping
        if policy is None or not policy.should_stop(self.progress.held_out):
            return False
        log.info("validation loss no longer falls: ends after step %d", self.progress.step)
        self.sink(StoppedEarly(step=self.progress.step, best=min(self.progress.held_out)))
        return True

    def _back_to_the_best(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Restores the weights of the lowest validation loss where those are to be exported; its step and metrics."""
        if self.keeper is None or not self.training.exports_best:
            return {}
        found = self.keeper.resume_best(self.engine)
        if found is None:
            return {}
        self.sink(ExportsBest(step=found.step, last_step=metrics["step"]))
        return self.keeper.metrics

    def _begin(self) -> None:
        """Restores the newest checkpoint; at the very beginning it saves one, to have something to go back to."""
        found = self.keeper.resume(self.engine) if self.keeper is not None else None
        if found is not None:
            self.progress = found
            log.info("resumed after step %d", found.step)
        if self.metric_log is not None:
            self.metric_log.rewind(self.progress.step)
        if found is None and self.keeper is not None and self.training.recovery.attempts:
            self.keeper.save(self.engine, self.progress, {})

    def _metrics(self, done: StepDone, took: float) -> dict[str, Any]:
        self.host.stepped(self.progress.step)
        return {
            "step": self.progress.step,
            "time": time.time(),
            "train_loss": done.loss,
            "learning_rate": done.learning_rate,
            "grad_norm": done.grad_norm,
            "step_time_s": took,
            f"{self.task.unit}s_per_s": done.units / took,
            "order_hash": self.progress.order_hash,
            "memory_mb": peak_megabytes(self.host.world.device),
            **self.utilisation.of_step(took),
            **self.clock.split(),
        }

    def _keep(self, done: StepDone, metrics: dict[str, Any]) -> None:
        """Saves where a checkpoint is due, and tells the host of the one that was completed meanwhile."""
        if self.keeper is None:
            return
        self._tell_committed(done.committed_step)
        step = self.progress.step
        held_out = self.progress.held_out
        best = self.training.exports_best and metrics.get("validation_loss") == min(held_out, default=None)
        if self.keeper.due(step) or step == self.until or best or done.notice is not None:
            with self.clock.stage("checkpoint"):
                self.keeper.save(self.engine, self.progress, metrics)

    def _tell_committed(self, step: int) -> None:
        """Every worker comes here with the same step, so the host hears of a checkpoint from all of them."""
        if self.keeper is not None and step > self.told_committed:
            self.told_committed = step
            self.host.committed(self.keeper.path(step), {"step": step})

    def _goes_back(self, verdict: Verdict, ids: Ids, done: StepDone) -> bool:
        """Restores the last checkpoint and leaves the guilty batches out; False: the step stands as it is."""
        policy, step = self.training.recovery, self.progress.step
        if self.keeper is None or self.rollbacks >= policy.attempts:
            if verdict is Verdict.LEAP:
                return False
            raise DivergedError(_hopeless(step + 1, done, ids, self.rollbacks))
        self.rollbacks += 1
        first = max(0, step - policy.skip_steps + 1)
        guilty = [batch_number(number, self.progress.left_out) for number in range(first, step + 1)]
        left_out = tuple(sorted({*self.progress.left_out, *guilty}))
        back = self.keeper.resume(self.engine)
        if back is None:
            raise DivergedError(_hopeless(step + 1, done, ids, self.rollbacks))
        self.progress = replace(back, left_out=left_out)
        self.guard.forget()
        log.warning("step %d: %s: %s; back to step %d", step + 1, verdict, _figures(done), back.step)
        if self.metric_log is not None:
            self.metric_log.rewind(back.step)
        samples = [int(number) for batch in guilty for number in self.order.batch(batch)]
        self.sink(
            RolledBack(
                verdict=str(verdict),
                step=step + 1,
                loss=str(done.loss),
                grad_norm=str(done.grad_norm),
                back_to=back.step,
                samples=tuple(samples),
            )
        )
        return True


def _figures(done: StepDone) -> str:
    """The loss, and where it is not the loss that is no number, the gradient that is none."""
    if math.isfinite(done.loss) and not math.isfinite(done.grad_norm):
        return f"the norm of the gradient is {done.grad_norm} at a loss of {done.loss:g}"
    return f"the loss is {done.loss:g}"


def _hopeless(step: int, done: StepDone, ids: Ids, rollbacks: int) -> str:
    samples = ", ".join(map(str, ids[:8])) + (" ..." if len(ids) > 8 else "")
    return (
        f"step {step}: {_figures(done)} after {rollbacks} rollback(s); samples {samples}; lower the learning rate, "
        "look at these samples, or raise recovery.attempts"
    )
