"""The held-out loss, the same on every worker and for any number of them."""

from __future__ import annotations

import numpy as np
import torch

from trainshed.runtime.tasks import Samples, Task
from trainshed.runtime.training.engines import Engine
from trainshed.runtime.training.host import World
from trainshed.runtime.training.shares import batch_of, sum_over_workers
from trainshed.spec.train import Training


def validate(training: Training, task: Task, samples: Samples, engine: Engine, world: World) -> float:
    """Mean loss over the first `max_blocks` held-out samples, per unit; no logits are kept."""
    per_device = training.workers.per_device
    count = min(len(samples), training.validation.max_blocks)
    total = torch.zeros(2, dtype=torch.float64)
    engine.train(on=False)
    with torch.no_grad():
        for start in range(0, count, world.workers * per_device):
            first = start + world.worker * per_device
            ids = np.arange(first, min(first + per_device, count))
            counted = len(ids) > 0
            # A worker without a share still passes over a sample: under ZeRO-3 every forward needs every worker.
            batch = batch_of(task, samples, ids if counted else np.zeros(1, dtype=np.int64), (training.seed,), world)
            loss = task.loss(engine.forward, batch, label_smoothing=0.0)
            if counted:
                total += torch.tensor([float(loss), task.weight(batch)], dtype=torch.float64)
    engine.train(on=True)
    total = sum_over_workers(total, world)
    return float(total[0] / total[1])
