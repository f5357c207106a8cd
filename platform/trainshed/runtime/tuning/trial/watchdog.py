"""The watch over one-worker trials: one that is silent, or makes no step, is killed, and Ray Tune starts it again.

Ray Tune waits for a trial for ever. A trial of several workers is watched by its own training; see `watchdog`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray

from trainshed.record.events import WorkerKilled
from trainshed.record.trials import name_of
from trainshed.runtime.watch.heartbeat import Heartbeats, Observations
from trainshed.runtime.watch.watchdog import LOOK_S, hanging, kill, looking
from trainshed.spec.training.workers import Workers


@contextmanager
def watching_trials(workers: Workers, *, killed: Callable[[int, WorkerKilled], None]) -> Iterator[Any]:
    """The actor that trials beat to, while a sweep runs; `killed` hears of each trial that was killed."""
    heartbeats = ray.remote(num_cpus=0, max_restarts=-1)(Heartbeats).remote()
    try:
        with looking(lambda: _look(heartbeats, workers, killed)):
            yield heartbeats
    finally:
        ray.kill(heartbeats)


def _look(heartbeats: Any, workers: Workers, killed: Callable[[int, WorkerKilled], None]) -> None:
    """Each trial by itself: none waits for another."""
    try:
        look: Observations = ray.get(heartbeats.look.remote(), timeout=LOOK_S * 10)
    except ray.exceptions.RayError:
        return  # the actor starts again, and trials beat on
    for one in look.seen:
        for found, cause in hanging([one], workers):
            done = kill(found)
            heartbeats.gone.remote(found.member.worker, found.member.pid)
            if not done.was_gone:  # else Ray Tune ended it, or pauses it
                who = name_of(found.member.worker)
                killed(found.member.worker, WorkerKilled(who=who, cause=cause, outcome=done.words))
