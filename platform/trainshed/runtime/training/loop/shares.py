"""What a worker's share of a batch is as tensors, and sums over the shares of all workers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from trainshed.runtime.tasks import Batch, Samples, Task
from trainshed.runtime.training.host import World


def batch_of(task: Task, samples: Samples, ids: np.ndarray[Any, Any], key: tuple[int, ...], world: World) -> Batch:
    """The samples on this worker's device; what is drawn for one depends on `key` and its number alone."""
    batch = task.batch(samples.take(ids), keys=[(*key, int(number)) for number in ids])
    return {name: tensor.to(world.device, non_blocking=True) for name, tensor in batch.items()}


def sum_over_workers(value: torch.Tensor, world: World) -> torch.Tensor:
    """Element by element; on the CPU, the same on every worker."""
    if world.workers > 1:
        value = value.to(world.device)
        dist.all_reduce(value)
    return value.cpu()


def rows_of_workers(rows: list[np.ndarray[Any, Any]], world: World) -> list[np.ndarray[Any, Any]]:
    """The arrays of all workers, in the order of the workers; the same on every worker."""
    if world.workers == 1:
        return rows
    gathered: list[Any] = [None] * world.workers
    dist.all_gather_object(gathered, rows)
    return [array for one in gathered for array in one]
