"""One pass over the samples of every split, read top to bottom. Every worker runs it; nothing here knows Ray.

A worker answers for its share of each batch; the figures of all workers meet on worker 0, which writes them down chunk
by chunk. Nothing is learnt, and what a sample comes to depends on that sample alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from trainshed.runtime.tasks import Batch, Forward, Samples, Task
from trainshed.runtime.training.ended import Notice
from trainshed.runtime.training.engines.answering import Answers
from trainshed.runtime.training.host import Host, World
from trainshed.runtime.training.loop.metric_log import Rows
from trainshed.runtime.training.loop.shares import batch_of, sum_over_workers
from trainshed.runtime.training.scoring.files import Columns, ScoreFiles

Measure = Callable[[Forward, Batch], Mapping[str, torch.Tensor]]
"""The figures of each sample of a batch, by name: `(samples,)` or `(samples, figures)`."""


@torch.no_grad()
def measure_splits(
    measure: Measure,
    task: Task,
    splits: Mapping[str, Samples],
    engine: Answers,
    host: Host,
    *,
    per_device: int,
    files: ScoreFiles,
    rows: Rows,
) -> tuple[int, Notice | None]:
    """Measures what is not measured yet; how many samples are done, and why it ended before the last, if it did."""
    engine.train(on=False)
    done = 0
    for split, samples in splits.items():
        for chunk, ids in files.chunks_of(len(samples)):
            began = time.perf_counter()
            if not agreed(files.is_there(split, chunk), host.world):
                found = _measured(measure, task, samples, ids, engine, host, per_device, done)
                if host.world.worker == 0:
                    files.write(split, chunk, found)
                took = time.perf_counter() - began
                rows.row(step=done + len(ids), time=time.time(), samples_per_s=len(ids) / took)
            done += len(ids)
            host.stepped(done)
            if (notice := notice_of_any(host)) is not None:
                return done, notice
    return done, None


def _measured(
    measure: Measure,
    task: Task,
    samples: Samples,
    ids: np.ndarray[Any, Any],
    engine: Answers,
    host: Host,
    per_device: int,
    done: int,
) -> Columns:
    """The figures of these samples, in their order, on every worker; `done` is how many are done before them."""
    world = host.world
    numbers: list[np.ndarray[Any, Any]] = []
    figures: list[dict[str, np.ndarray[Any, Any]]] = []
    for start in range(0, len(ids), world.workers * per_device):
        first = start + world.worker * per_device
        own = ids[first : first + per_device]
        # A worker without a share still passes over a sample: where weights are split every forward needs every worker.
        asked = own if len(own) else ids[:1]
        found = measure(engine.forward, batch_of(task, samples, asked, (0,), world))
        if len(own):
            numbers.append(own)
            figures.append({name: one.float().cpu().numpy() for name, one in found.items()})
        host.stepped(done + start)
    gathered: list[Any] = [(numbers, figures)]
    if world.workers > 1:
        gathered = [None] * world.workers
        dist.all_gather_object(gathered, (numbers, figures))
    order = np.argsort(np.concatenate([one for own, _ in gathered for one in own]))
    parts = [one for _, own in gathered for one in own]
    return {name: np.concatenate([one[name] for one in parts])[order] for name in parts[0]}


def agreed(there: bool, world: World) -> bool:
    """What worker 0 sees: the others may look a moment later, or at another copy."""
    return bool(sum_over_workers(torch.tensor([float(there and world.worker == 0)]), world))


def notice_of_any(host: Host) -> Notice | None:
    """What any worker was told."""
    notice = host.notice()
    leave, stop = sum_over_workers(torch.tensor([float(notice == "leave"), float(notice == "stop")]), host.world)
    if stop:
        return "stop"
    return "leave" if leave else None
