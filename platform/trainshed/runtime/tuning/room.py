"""What a trial asks Ray for, and how many of them a cluster has room for at once."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

import ray
from ray.tune import PlacementGroupFactory
from ray.tune.search import ConcurrencyLimiter, Searcher

from trainshed.spec.tune import TuneJob

Resources = dict[str, float]

LOOK_S = 2.0
"""So often at most a sweep looks how large the cluster is."""

GRAIN = 1e-6
"""Sums of fractions are this near to what they mean; Ray itself counts in ten-thousandths."""


def of_a_worker(job: TuneJob) -> Resources:
    """What one worker of a trial holds: CPUs, and GPUs where it has any, a part of one where trials share it."""
    workers = job.train.workers
    return {"CPU": workers.cpus} | ({"GPU": job.gpus_of_a_worker} if workers.gpus else {})


def of_a_trial(job: TuneJob) -> Resources | PlacementGroupFactory:
    """What Tune holds for a trial: one worker trains in it; for several it holds their places, and itself only waits.

    So a trial that has no room for its workers is one that has not begun: it costs nothing, and a population's members
    take turns.
    """
    count = job.train.workers.max_count
    return of_a_worker(job) if count == 1 else PlacementGroupFactory([{}, *[of_a_worker(job)] * count])


def room_for(job: TuneJob, nodes: Iterable[Mapping[str, float]]) -> int:
    """How many trials fit on nodes with these resources at once; a worker does not span nodes, nor GPUs a fraction."""
    asked = of_a_worker(job)
    workers = sum(min(_times(name, amount, node.get(name, 0.0)) for name, amount in asked.items()) for node in nodes)
    return workers // job.train.workers.max_count


def room_now(job: TuneJob) -> int:
    """How many trials fit on the nodes that the cluster has now, were it empty."""
    return room_for(job, [node["Resources"] for node in ray.nodes() if node["Alive"]])


class Limited(ConcurrencyLimiter):  # type: ignore[misc]
    """Hands out as many trials at a time as the job says; under `auto` as many as there is room for, and at least one,
    so that a cluster that scales sees that somebody waits."""

    def __init__(self, searcher: Searcher, job: TuneJob) -> None:
        super().__init__(searcher, max_concurrent=job.concurrent)
        self._job, self._looked = job, -math.inf

    def suggest(self, trial_id: str) -> Any:
        """The next trial's settings; None: not now."""
        if self._job.search.concurrent == "auto" and time.monotonic() - self._looked >= LOOK_S:
            self._looked, self.max_concurrent = time.monotonic(), max(1, room_now(self._job))
        return super().suggest(trial_id)


def _times(name: str, amount: float, there: float) -> int:
    if name == "GPU" and amount < 1:
        return math.floor(1 / amount + GRAIN) * math.floor(there + GRAIN)
    return math.floor(there / amount + GRAIN)
