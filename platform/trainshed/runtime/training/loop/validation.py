"""The held-out metrics, the same on every worker and for any number of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from trainshed.errors import PlatformError
from trainshed.runtime.tasks import Samples, Task
from trainshed.runtime.tasks.protocol import DrawsAnswers
from trainshed.runtime.training.engines import Engine
from trainshed.runtime.training.host import World
from trainshed.runtime.training.loop.shares import batch_of, rows_of_workers, sum_over_workers
from trainshed.spec.training.tasks import Custom
from trainshed.spec.training.train import Training


@contextmanager
def evaluating(engine: Engine) -> Iterator[None]:
    """Inside, the model is in evaluation mode; however it is left, in training mode after."""
    engine.train(on=False)
    try:
        yield
    finally:
        engine.train(on=True)


def check_reported(training: Training, found: dict[str, float]) -> None:
    """A task of one's own gives every figure that the job file says it does; a sweep has been planned by them.

    Raises:
        PlatformError: one is missing.
    """
    task = training.task
    if isinstance(task, Custom) and (missing := [name for name in task.metrics if name not in found]):
        raise PlatformError(
            f"task.metrics: the meter of {task.path} gives no {', '.join(missing)}; it gives {', '.join(found)}"
        )


def validate(
    training: Training, task: Task, samples: Samples, engine: Engine, world: World, *, limit: int | None = None
) -> dict[str, float]:
    """The task's metrics over the first `limit` samples, or all; no logits are kept. `loss` is always there."""
    per_device = training.workers.per_device
    count = len(samples) if limit is None else min(len(samples), limit)
    meter = task.meter()
    if isinstance(task, DrawsAnswers):
        task.sync(engine, world.device)
    with evaluating(engine), torch.no_grad():
        for start in range(0, count, world.workers * per_device):
            first = start + world.worker * per_device
            ids = np.arange(first, min(first + per_device, count))
            # A worker without a share still passes over a sample: under ZeRO-3 every forward needs every worker.
            counted, ids = (meter, ids) if len(ids) else (task.meter(), np.zeros(1, dtype=np.int64))
            counted.add(engine.forward, batch_of(task, samples, ids, (training.seed,), world))
    meter.sums = sum_over_workers(meter.sums, world)
    meter.rows = rows_of_workers(meter.rows, world)
    return meter.metrics()
