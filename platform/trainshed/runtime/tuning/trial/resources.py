"""What a trial asks Ray for, and how many of them run at once."""

from __future__ import annotations

import math
import time
from typing import Any

import ray
from ray.tune import PlacementGroupFactory
from ray.tune.search import ConcurrencyLimiter, Searcher

from trainshed.spec.sweep.capacity import Resources, of_a_worker, room_for
from trainshed.spec.sweep.tune import TuneJob

LOOK_S = 2.0
"""So often at most a sweep looks how large the cluster is."""


def of_a_trial(job: TuneJob) -> Resources | PlacementGroupFactory:
    """What Tune holds for a trial: one worker trains in it; for several it holds their places, and itself only waits.

    So a trial that has no room for its workers is one that has not begun: it costs nothing, and a population's members
    take turns.
    """
    count = job.train.workers.max_count
    return of_a_worker(job) if count == 1 else PlacementGroupFactory([{}, *[of_a_worker(job)] * count])


def room_now(job: TuneJob) -> int:
    """How many trials fit on the nodes that the cluster has now, were it empty."""
    return room_for(job, [node["Resources"] for node in ray.nodes() if node["Alive"]])


def at_once(job: TuneJob, room: int) -> int:
    """How many trials are asked for at a time: as the job says; under `auto` as many as there is room for, and at least
    one, so that a cluster that scales sees that somebody waits."""
    return max(1, min(room, job.concurrent)) if job.search.concurrent == "auto" else job.concurrent


class Limited(ConcurrencyLimiter):  # type: ignore[misc]
    """Hands out so many trials at a time, and looks again and again how large the cluster is."""

    def __init__(self, searcher: Searcher, job: TuneJob) -> None:
        super().__init__(searcher, max_concurrent=job.concurrent)
        self._job = job
        self._looked = -math.inf

    def suggest(self, trial_id: str) -> Any:
        """The next trial's settings; None: not now."""
        now = time.monotonic()
        if now - self._looked >= LOOK_S:
            self._looked = now
            self.max_concurrent = at_once(self._job, room_now(self._job))
        return super().suggest(trial_id)
