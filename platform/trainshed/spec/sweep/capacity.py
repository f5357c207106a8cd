"""How many trials of a sweep machines have room for at once. Pure arithmetic; knows no Ray."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from trainshed.spec.sweep.tune import TuneJob

Resources = dict[str, float]
"""`CPU`, `GPU`: how many, as Ray names them."""

GRAIN = 1e-6
"""Sums of fractions are this near to what they mean; Ray itself counts in ten-thousandths."""


def of_a_worker(job: TuneJob) -> Resources:
    """What one worker of a trial holds: CPUs, and GPUs where it has any, a part of one where trials share it."""
    workers = job.train.workers
    return {"CPU": workers.cpus} | ({"GPU": job.gpus_of_a_worker} if workers.gpus else {})


def room_for(job: TuneJob, nodes: Iterable[Mapping[str, float]]) -> int:
    """How many trials fit on nodes with these resources at once; a worker does not span nodes, nor GPUs a fraction."""
    asked = of_a_worker(job)
    workers = sum(min(_times(name, amount, node.get(name, 0.0)) for name, amount in asked.items()) for node in nodes)
    return workers // job.train.workers.max_count


def _times(name: str, amount: float, there: float) -> int:
    if name == "GPU" and amount < 1:
        return math.floor(1 / amount + GRAIN) * math.floor(there + GRAIN)
    return math.floor(there / amount + GRAIN)
