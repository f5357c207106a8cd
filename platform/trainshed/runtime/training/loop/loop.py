"""The training loop, read top to bottom. Every worker runs it; nothing here knows Ray.

A step is: take this step's samples from the global order, pass over this worker's share, add gradients, clip, apply.
All that a checkpoint must hold beside the engine's state is `Progress`: order, learning rate and random numbers are
functions of the step. A loss that is NaN, infinite or a spike rolls back to the last checkpoint and skips the batch.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from trainshed.record.events import ExportsBest, Sink, StoppedEarly, to_nobody
from trainshed.record.metric_rows import MetricRow
from trainshed.runtime.tasks import Task
from trainshed.runtime.training.checkpoints.keeper import Checkpointing, NoCheckpoints
from trainshed.runtime.training.ended import Ended, Notice
from trainshed.runtime.training.engines import Engine
from trainshed.runtime.training.host import Host
from trainshed.runtime.training.loop.memory_use import peak_megabytes
from trainshed.runtime.training.loop.metric_log import NoRows, Rows
from trainshed.runtime.training.loop.order import batch_number, chained_hash
from trainshed.runtime.training.loop.rollback import judge, roll_back
from trainshed.runtime.training.loop.self_test import check_weights_agree
from trainshed.runtime.training.loop.state import Parts, Splits, State, assemble
from trainshed.runtime.training.loop.stepper import StepDone
from trainshed.runtime.training.loop.validation import check_reported, validate
from trainshed.spec.training.train import Training

log = logging.getLogger("trainshed.training")

NOTHING = -1
"""Before every row of a training, that of step 0 included."""


def train(
    training: Training,
    task: Task,
    splits: Splits,
    host: Host,
    engine: Engine,
    *,
    metric_log: Rows | None = None,
    keeper: Checkpointing | None = None,
    sink: Sink = to_nobody,
    until: int | None = None,
) -> Ended:
    """Trains to its last step, from the newest checkpoint of `keeper`; what it came to is the same on every worker.

    Told to end, it saves first, and `notice` says so. After step `until` it saves as well, and ends, for a training
    with other settings that goes on from there. `metric_log` is worker 0's.

    Raises:
        DivergedError: the loss or its gradient is no number, and going back has not helped.
    """
    until = until or training.total_steps
    keeper = keeper or NoCheckpoints()
    metric_log = metric_log or NoRows()
    state = State(unproven=training.self_test)
    parts = assemble(
        training,
        task,
        splits,
        host,
        engine,
        keeper=keeper,
        metric_log=metric_log,
        sink=sink,
        step=lambda: state.progress.step,
    )
    _begin(parts, state)
    metrics = keeper.metrics
    notice: Notice | None = None
    began = time.perf_counter()

    while state.progress.step < until and notice is None and not _stops_early(parts, state):
        ids = parts.order.batch(batch_number(state.progress.step, state.progress.left_out))
        done = parts.stepper.step(state.progress.step, ids, keeper.committed_step())

        fault = judge(parts, done)
        if fault is not None and roll_back(parts, state, fault, ids, done):
            continue
        if state.unproven:
            check_weights_agree(engine, host.world)
            state.unproven = False

        step = state.progress.step + 1
        state.progress = replace(state.progress, step=step, order_hash=chained_hash(state.progress.order_hash, ids))
        now = time.perf_counter()
        metrics = _metrics(parts, state, done, now - began)
        began = now
        held_out = step % training.validation.every_steps == 0 or step == training.total_steps
        if held_out:
            metrics |= _validate(parts, state)
            log.info("step %d: loss %.4f, validation loss %.4f", step, done.loss, metrics["validation_loss"])
        metric_log.row(**metrics)
        _save(parts, state, done, metrics, until)
        if held_out:
            host.validated(metrics)  # a sweep may end the trial here: its row is written, its state is saved
        notice = done.notice

    if parts.watches.plan_check.facts is not None:
        metrics["memory"] = parts.watches.plan_check.facts
    keeper.close()
    _tell_committed(parts, state, keeper.saved_step)
    hands_over = training.total_steps > until <= state.progress.step
    if notice is None and not hands_over:
        metrics |= _back_to_the_best(parts, metrics)
        parts.regularizers.swap(engine.refresh)  # what is exported is what was validated
    return Ended(MetricRow.of(metrics), notice)


def _begin(parts: Parts, state: State) -> None:
    """Restores the newest checkpoint; at the very beginning it saves one, to have something to go back to.

    What a model can before its first step is measured before that: a worker that is started again finds both or none.
    """
    found = parts.keeper.resume(parts.engine)
    if found is not None:
        state.progress = found
        log.info("resumed after step %d", found.step)
    parts.metric_log.rewind(NOTHING if found is None else state.progress.step)
    if found is None and parts.training.validation.at_start:
        metrics = _measured(parts)
        log.info("before the first step: validation loss %.4f", metrics["validation_loss"])
        parts.metric_log.row(step=0, time=time.time(), **metrics)
    if found is None and parts.training.recovery.attempts:
        parts.keeper.save(parts.engine, state.progress, {})


def _stops_early(parts: Parts, state: State) -> bool:
    """Whether the validation losses so far end the training before its last step."""
    policy = parts.training.regularization.early_stopping
    if policy is None or not policy.should_stop(state.progress.held_out):
        return False
    log.info("validation loss no longer falls: ends after step %d", state.progress.step)
    parts.sink(StoppedEarly(step=state.progress.step, best=min(state.progress.held_out)))
    return True


def _metrics(parts: Parts, state: State, done: StepDone, took: float) -> dict[str, Any]:
    """The row of a step that counts; the host hears of the step."""
    parts.host.stepped(state.progress.step)
    return {
        "step": state.progress.step,
        "time": time.time(),
        "train_loss": done.loss,
        "learning_rate": done.learning_rate,
        "grad_norm": done.grad_norm,
        "step_time_s": took,
        f"{parts.task.unit}s_per_s": done.units / took,
        "order_hash": state.progress.order_hash,
        **done.figures,
        "memory_mb": peak_megabytes(parts.host.world.device),
        **parts.watches.utilisation.of_step(took),
        **parts.watches.clock.split(),
    }


def _validate(parts: Parts, state: State) -> dict[str, float]:
    """The held-out metrics, which decide when a training ends early."""
    found = _measured(parts)
    state.progress = replace(state.progress, held_out=(*state.progress.held_out, found["validation_loss"]))
    return found


def _measured(parts: Parts) -> dict[str, float]:
    """The held-out metrics, of the averaged weights where an average is kept."""
    training = parts.training
    world = parts.host.world
    with parts.regularizers.averaged(parts.engine.refresh):
        limit = training.validation.max_samples
        found = validate(training, parts.task, parts.splits.validation, parts.engine, world, limit=limit)
    check_reported(training, found)
    return {f"validation_{name}": value for name, value in found.items()}


def _save(parts: Parts, state: State, done: StepDone, metrics: dict[str, Any], until: int) -> None:
    """Saves where a checkpoint is due, and tells the host of the one that was completed meanwhile."""
    _tell_committed(parts, state, done.committed_step)
    step = state.progress.step
    held_out = state.progress.held_out
    best = parts.training.exports_best and metrics.get("validation_loss") == min(held_out, default=None)
    if parts.keeper.due(step) or step == until or best or done.notice is not None:
        with parts.watches.clock.stage("checkpoint"):
            parts.keeper.save(parts.engine, state.progress, metrics)


def _tell_committed(parts: Parts, state: State, step: int) -> None:
    """Every worker comes here with the same step, so the host hears of a checkpoint from all of them."""
    if step > state.told_committed:
        state.told_committed = step
        parts.host.committed(parts.keeper.path(step), {"step": step})


def _back_to_the_best(parts: Parts, metrics: dict[str, Any]) -> dict[str, Any]:
    """Restores the weights of the lowest validation loss where those are to be exported; its step and metrics."""
    if not parts.training.exports_best:
        return {}
    found = parts.keeper.resume_best(parts.engine)
    if found is None:
        return {}
    parts.sink(ExportsBest(step=found.step, last_step=metrics["step"]))
    return parts.keeper.metrics
