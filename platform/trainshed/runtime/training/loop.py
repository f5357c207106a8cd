"""The training loop, read top to bottom. Every worker runs it; nothing here knows Ray.

A step is: take this step's samples from the global order, pass over this worker's share, add gradients, clip, apply.
All that a checkpoint must hold beside the engine's state is the number of steps done: order, learning rate and random
numbers are functions of it.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from trainshed.runtime.tasks import Batch, Samples, Task
from trainshed.runtime.training import engines
from trainshed.runtime.training.engines import Engine
from trainshed.runtime.training.host import Host
from trainshed.runtime.training.metric_log import MetricLog
from trainshed.runtime.training.optimizers import build_optimizer
from trainshed.runtime.training.order import Order, share
from trainshed.spec.train import Training

log = logging.getLogger("trainshed.training")

STATE_FILE = "trainshed.json"


@dataclass(frozen=True)
class Splits:
    """The samples that are learnt from, and those held out."""

    train: Samples
    validation: Samples
    test: Samples | None = None


def train(
    training: Training, task: Task, splits: Splits, host: Host, *, metric_log: MetricLog | None, keep_state: bool = True
) -> tuple[Engine, dict[str, Any]]:
    """Trains to `training.steps` and returns the engine and the last metrics (the same on every worker).

    Resumes where the host's newest checkpoint ended. `metric_log` is worker 0's, None on the others.
    """
    world = host.world
    torch.manual_seed(training.seed)
    engine = engines.build(
        training, task.make_model, lambda model: build_optimizer(training.optimizer, model), world.device
    )
    order = Order(len(splits.train), training.global_batch_size, training.seed)
    done = _resume(engine, host)
    if metric_log is not None:
        metric_log.rewind(done)
    metrics: dict[str, Any] = {"step": done}
    began = time.perf_counter()
    for step in range(done, training.steps):
        loss, norm, rate, weight = _step(training, task, splits.train, engine, order, step, host)
        last = step + 1 == training.steps
        took, began = time.perf_counter() - began, time.perf_counter()
        metrics = {
            "step": step + 1,
            "time": time.time(),
            "train_loss": loss,
            "learning_rate": rate,
            "grad_norm": norm,
            "step_time_s": took,
            f"{task.unit}s_per_s": weight / took,
        }
        held_out = (step + 1) % training.validation.every_steps == 0 or last
        if held_out:
            limit = training.validation.max_blocks
            found = validate(training, task, splits.validation, engine, host, limit=limit)
            metrics |= {f"validation_{name}": value for name, value in found.items()}
            log.info("step %d: loss %.4f, validation loss %.4f", step + 1, loss, metrics["validation_loss"])
        if metric_log is not None:
            metric_log.row(**metrics)
        if held_out:
            host.validated(metrics)  # a sweep may end the trial here; its row is written
        if keep_state and ((step + 1) % training.checkpoint.every_steps == 0 or last):
            _checkpoint(training, engine, host, metrics)
    return engine, metrics


def validate(
    training: Training, task: Task, samples: Samples, engine: Engine, host: Host, *, limit: int | None = None
) -> dict[str, float]:
    """The task's metrics over the first `limit` samples, or all; the same on every worker. `loss` is always there."""
    world, per_device = host.world, training.workers.per_device_batch_size
    count = len(samples) if limit is None else min(len(samples), limit)
    meter = task.meter()
    engine.train(on=False)
    with torch.no_grad():
        for start in range(0, count, world.workers * per_device):
            first = start + world.worker * per_device
            ids = np.arange(first, min(first + per_device, count))
            # A worker without a share still passes over a sample: under ZeRO-3 every forward needs every worker.
            counted, ids = (meter, ids) if len(ids) else (task.meter(), np.zeros(1, dtype=np.int64))
            counted.add(engine.forward, _batch(task, samples, ids, (training.seed,), host))
    engine.train(on=True)
    meter.sums = _sum_over_workers(meter.sums, host)
    meter.rows = _rows_of_workers(meter.rows, host)
    return meter.metrics()


def _step(
    training: Training, task: Task, samples: Samples, engine: Engine, order: Order, step: int, host: Host
) -> tuple[float, float, float, float]:
    """One optimizer step: mean training loss over the global batch, gradient norm, learning rate, units."""
    world = host.world
    torch.manual_seed(hash((training.seed, step, world.worker)))
    shares = share(
        order.batch(step),
        worker=world.worker,
        workers=world.workers,
        per_device=training.workers.per_device_batch_size,
    )
    batches = [_batch(task, samples, ids, (training.seed, step), host) for ids in shares]
    # Passes and workers may hold different numbers of units; the step's loss is the mean over all of them.
    weight = float(_sum_over_workers(torch.tensor([sum(map(task.weight, batches))], dtype=torch.float64), host))
    scale = len(shares) * world.workers / weight
    total = torch.zeros(1, dtype=torch.float64, device=world.device)
    for batch in batches:
        loss = task.loss(engine.forward, batch, label_smoothing=training.regularization.label_smoothing)
        engine.backward(loss * scale)
        total += loss.detach()
    rate = training.optimizer.learning_rate * training.schedule.factor(step, training.steps)
    norm = engine.step(rate)
    mean = _sum_over_workers(total, host) / weight
    return float(mean), norm, rate, weight


def _batch(task: Task, samples: Samples, ids: np.ndarray[Any, Any], key: tuple[int, ...], host: Host) -> Batch:
    """The samples on this worker's device; what is drawn for one depends on `key` and its number alone."""
    batch = task.batch(samples.take(ids), keys=[(*key, int(number)) for number in ids])
    return {name: tensor.to(host.world.device, non_blocking=True) for name, tensor in batch.items()}


def _sum_over_workers(value: torch.Tensor, host: Host) -> torch.Tensor:
    if host.world.workers > 1:
        value = value.to(host.world.device)
        dist.all_reduce(value)
    return value.cpu()


def _rows_of_workers(rows: list[np.ndarray[Any, Any]], host: Host) -> list[np.ndarray[Any, Any]]:
    if host.world.workers == 1:
        return rows
    gathered: list[Any] = [None] * host.world.workers
    dist.all_gather_object(gathered, rows)
    return [array for one in gathered for array in one]


def _resume(engine: Engine, host: Host) -> int:
    """Loads the newest checkpoint, if there is one; the number of steps already done."""
    folder = host.resume_folder()
    if folder is None:
        return 0
    state = json.loads((folder / STATE_FILE).read_text())
    if state["workers"] != host.world.workers:
        raise RuntimeError(f"the checkpoint is of {state['workers']} workers, this run has {host.world.workers}")
    engine.load(folder)
    log.info("resumed after step %d", state["step"])
    return int(state["step"])


def _checkpoint(training: Training, engine: Engine, host: Host, metrics: dict[str, Any]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="trainshed-checkpoint-"))
    engine.save(folder)
    if host.world.worker == 0:
        state = {"step": metrics["step"], "workers": host.world.workers, "engine": training.engine.model_dump()}
        (folder / STATE_FILE).write_text(json.dumps(state))
    host.checkpointed(folder, metrics)
