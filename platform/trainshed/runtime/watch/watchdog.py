"""The driver's watch over its workers: one that is silent or stuck is killed, so that Ray Train starts the group again.

Ray Train asks its workers too, but takes 600 s for an answer; a worker that was stopped, or that waits for a lock for
ever, would hold the run for as long. SIGKILL by process id works on a stopped process as well.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainshed.patience import Patience, patience
from trainshed.record.events import Log, Sink, StopAsked, WorkerKilled
from trainshed.runtime.watch.heartbeat import Instruction, Observations, Observed
from trainshed.spec.training.workers import Workers

LOOK_S = 1.0
ANSWER_S = 15.0
TITLES = ("RayTrainWorker", "StandbyWorker", "ImplicitFunc")
"""What Ray calls the processes that train: a worker, a spare one, a trial of Ray Tune."""


@contextmanager
def watching(heartbeats: Any, workers: Workers, *, sink: Sink, stopping: Callable[[], bool]) -> Iterator[None]:
    """While a training runs: kills what hangs, says what happened, passes on that the run should stop."""
    watchdog = Watchdog(heartbeats, workers, sink=sink, stopping=stopping)
    try:
        with looking(watchdog.look):
            yield
    finally:
        watchdog.look()


@contextmanager
def looking(look: Callable[[], None]) -> Iterator[None]:
    """Calls `look` every `LOOK_S` seconds from a thread of its own, until the `with` ends."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_S):
            look()

    thread = threading.Thread(target=watch, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Watchdog:
    """One look at a time; see `watching`."""

    def __init__(self, heartbeats: Any, workers: Workers, *, sink: Sink, stopping: Callable[[], bool]) -> None:
        self._heartbeats = heartbeats
        self._workers = workers
        self._sink = sink
        self._stopping = stopping
        self._killed: set[int] = set()
        self._told_to_stop = False

    def look(self) -> None:
        """One round of checks."""
        try:
            self._pass_on_stop()
            look: Observations = ray.get(self._heartbeats.look.remote(), timeout=LOOK_S * 10)
        except Exception as error:
            if not isinstance(error, ray.exceptions.RayError):
                self._sink(Log(message=f"the watch over the workers: {type(error).__name__}: {error}"))
            return
        for event in look.events:
            self._sink(event)
        fresh = [seen for seen in look.seen if seen.member.pid not in self._killed]
        for seen, cause in hanging(fresh, self._workers):
            self._killed.add(seen.member.pid)
            self._sink(WorkerKilled(who=f"worker {seen.member.worker}", cause=cause, outcome=kill(seen).words))

    def _pass_on_stop(self) -> None:
        """Again at each look: an actor that was started again has forgotten it."""
        if not self._stopping():
            return
        ray.get(self._heartbeats.give.remote(Instruction.STOP), timeout=LOOK_S * 10)
        if not self._told_to_stop:
            self._told_to_stop = True
            self._sink(StopAsked())


def hanging(seen: list[Observed], workers: Workers) -> list[tuple[Observed, str]]:
    """Which workers to kill, each with what is wrong with it, in words.

    A silent one is killed at once. Where all beat but none moves, it is the one that does not wait for another; where
    that does not tell, all of them.
    """
    beating = [one for one in seen if one.beat is not None]
    if silent := [one for one in beating if one.silent_s > patience_with(one, workers).seconds]:
        return [(one, _silence(one, workers)) for one in silent]
    if not seen or min(_patience_left(one, workers) for one in seen) > 0:
        return []
    guilty = [one for one in beating if one.beat is not None and not one.beat.waits] or list(seen)
    return [(one, _standstill(one, workers)) for one in guilty]


def patience_with(one: Observed, workers: Workers) -> Patience:
    """How long a worker may be silent, as busy as its machine is and as late as it was before."""
    return patience(workers.silent_timeout_s, load=one.load, took_s=one.gap_s)


@dataclass(frozen=True)
class Killed:
    """What became of a process that was to be killed."""

    was_gone: bool
    words: str


def kill(seen: Observed) -> Killed:
    """SIGKILL on the worker's own node."""
    member = seen.member
    if member.node == ray.get_runtime_context().get_node_id():
        return kill_here(member.pid)
    there = NodeAffinitySchedulingStrategy(member.node, soft=False)
    task = ray.remote(num_cpus=0, max_retries=0)(kill_here).options(scheduling_strategy=there)
    try:
        killed: Killed = ray.get(task.remote(member.pid), timeout=patience(ANSWER_S).seconds)
    except Exception as error:
        words = f"its node does not answer ({type(error).__name__}); Ray will find that it is gone"
        return Killed(was_gone=False, words=words)
    return killed


def kill_here(pid: int) -> Killed:
    """Kills a worker process of this machine, if it still is one."""
    try:
        process = psutil.Process(pid)
        title = " ".join(process.cmdline())
        if not any(name in title for name in TITLES):
            return Killed(was_gone=True, words=f"process {pid} is gone already")
        state = process.status()
        os.kill(pid, signal.SIGKILL)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return Killed(was_gone=True, words=f"process {pid} is gone already")
    return Killed(was_gone=False, words=f"process {pid} was {state}; killed, it goes on from the newest checkpoint")


def _patience_left(one: Observed, workers: Workers) -> float:
    """Seconds that a worker without progress may go on; a worker that ends, exports or uploads, may take its time."""
    phase = one.beat.phase if one.beat is not None else "starting"
    match phase:
        case "training":
            return workers.hang_timeout_s - one.stuck_s
        case "starting":
            return max(workers.start_timeout_s, workers.hang_timeout_s) - one.stuck_s
        case _:
            return 1.0


def _silence(one: Observed, workers: Workers) -> str:
    waited = patience_with(one, workers)
    return f"has been silent for {one.silent_s:.0f} s; waited for {waited}, see workers.silent_timeout_s"


def _standstill(one: Observed, workers: Workers) -> str:
    """In words, with the limit that it was over, by its field."""
    starting = one.beat is None or one.beat.phase == "starting"
    key = "start_timeout_s" if starting and workers.start_timeout_s > workers.hang_timeout_s else "hang_timeout_s"
    limit = f"workers.{key} is {getattr(workers, key):g}"
    return f"has made no step for {one.stuck_s:.0f} s ({limit}), {_place(one)}"


def _place(one: Observed) -> str:
    return f"step {one.beat.step}, at {one.beat.where}" if one.beat is not None else "not one beat"
