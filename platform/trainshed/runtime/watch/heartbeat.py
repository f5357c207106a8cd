"""Heartbeats: each worker says once a second where it is, and hears in the answer what it should do.

`Heartbeats` is a Ray actor that the driver owns; it only keeps what it was told. `HeartbeatSender` is the thread of a
worker that tells it. What follows is decided elsewhere: by `watchdog` in the driver, by `restarts` in Ray Train's
controller.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType
from typing import Any

import ray
from ray.exceptions import ActorDiedError

import trainshed
from trainshed.patience import load_per_core
from trainshed.record.events import Event

log = logging.getLogger("trainshed.training")

OURS = trainshed.__path__[0]
BEAT_S = 1.0
ANSWER_S = 10.0
STARVED_S = 5.0
"""The driver looks once a second, and workers beat as often: an actor that nobody called for longer did not run."""


class Instruction(StrEnum):
    """What a worker hears in answer to a beat."""

    GO_ON = "go on"
    STOP = "stop"
    """Save at the next step boundary; the run ends there."""
    REGROUP = "regroup"
    """Save at the next step boundary; the group starts again with more workers."""
    BEGONE = "begone"
    """You are of a group that is over: exit at once, write nothing more."""


@dataclass(frozen=True)
class Member:
    """One worker of the present group."""

    worker: int
    pid: int
    node: str
    """Ray's id of the node it runs on."""


@dataclass(frozen=True)
class Heartbeat:
    """What a worker says of itself."""

    member: Member
    step: int
    """Optimizer steps done."""
    phase: str
    """`starting` until the first step is done, then `training`; `ending` after the last."""
    where: str
    """The innermost line of the training thread that tells something, as `file:line function`."""
    waits: bool
    """Whether it stands in a collective operation, waiting for other workers."""
    load: float = 0.0
    """Processes that want to run, for each core of its machine."""


@dataclass(frozen=True)
class Observed:
    """A member with its newest beat; ages in seconds."""

    member: Member
    beat: Heartbeat | None
    silent_s: float
    """Since its newest beat, or since its group began."""
    stuck_s: float
    """Since its step or phase last changed, or its process began to beat."""
    load: float = 0.0
    """Of its machine when it last beat, or of this one now, whichever is the higher."""
    gap_s: float = 0.0
    """The longest that it was silent before, and came back from."""


@dataclass(frozen=True)
class Observations:
    """What the driver sees of its workers."""

    seen: tuple[Observed, ...]
    events: tuple[Event, ...]
    """What Ray Train's controller had to say since the last look."""


class Heartbeats:
    """Keeps the newest beat of every worker of the present group. Times are this process's own clock.

    Time in which this process itself did not run is nobody's silence: beats wait in its queue meanwhile.
    An actor that Ray had to start again knows no group: it takes those for it that beat, until the next one begins.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._members: dict[int, Member] = {}
        self._closed = False
        self._heartbeats: dict[int, Heartbeat] = {}
        self._heard: dict[int, float] = {}
        self._moved: dict[int, float] = {}
        self._gaps: dict[int, float] = {}
        self._called = clock()
        self._events: list[Event] = []
        self._order = Instruction.GO_ON
        self._furthest = 0

    def begin(self, members: list[Member]) -> None:
        """A new group stands; every process that is not of it is to go."""
        self._members = {member.worker: member for member in members}
        self._closed = True
        self._heartbeats, self._gaps, now = {}, {}, self._now()
        self._heard = dict.fromkeys(self._members, now)
        self._moved = dict.fromkeys(self._members, now)
        if self._order is Instruction.REGROUP:
            self._order = Instruction.GO_ON

    def end(self) -> None:
        """The group is over; until the next one stands nobody is missed."""
        self._members = {}
        self._closed = False

    def beat(self, beat: Heartbeat) -> Instruction:
        """A worker lives; what it should do."""
        worker = beat.member.worker
        now = self._now()
        if self._members.get(worker) != beat.member:
            if self._closed:
                return Instruction.BEGONE
            self._members[worker] = beat.member
        before = self._heartbeats.get(worker)
        if before is None or (before.member, before.step, before.phase) != (beat.member, beat.step, beat.phase):
            self._moved[worker] = now
        if before is not None and before.member == beat.member:
            self._gaps[worker] = max(self._gaps.get(worker, 0.0), now - self._heard[worker])
        self._heartbeats[worker] = beat
        self._heard[worker] = now
        self._furthest = max(self._furthest, beat.step)
        return self._order

    def gone(self, worker: int, pid: int) -> None:
        """A process has left by itself: nobody misses it."""
        member = self._members.get(worker)
        if member is not None and member.pid == pid:
            del self._members[worker]

    def look(self) -> Observations:
        """The present group, and what was noted since the last look."""
        now = self._now()
        events = tuple(self._events)
        self._events = []
        return Observations(tuple(self._seen(member, now) for _, member in sorted(self._members.items())), events)

    def _seen(self, member: Member, now: float) -> Observed:
        worker = member.worker
        beat = self._heartbeats.get(member.worker)
        load = max(load_per_core(), 0.0 if beat is None else beat.load)
        gap_s = self._gaps.get(worker, 0.0)
        return Observed(member, beat, now - self._heard[worker], now - self._moved[worker], load, gap_s)

    def _now(self) -> float:
        """The time of this call. What passed since the last one, where it is too much, is taken off every age."""
        now = self._clock()
        asleep = now - self._called
        self._called = now
        if asleep > STARVED_S:
            for clock in (self._heard, self._moved):
                clock.update({worker: at + asleep for worker, at in clock.items()})
        return now

    def give(self, order: Instruction) -> None:
        """What every worker hears from now on; an order to stop is never taken back."""
        if self._order is not Instruction.STOP:
            self._order = order

    def order(self) -> Instruction:
        """The order in force: the same for whoever asks."""
        return self._order

    def tell(self, event: Event) -> None:
        """Keep an event for the driver to pass on."""
        self._events.append(event)

    def all_train(self) -> bool:
        """Whether every worker of the group has done a step."""
        heartbeats = [self._heartbeats.get(worker) for worker in self._members]
        return bool(heartbeats) and all(beat is not None and beat.phase == "training" for beat in heartbeats)

    def furthest(self) -> int:
        """The most optimizer steps that any worker had done, in this group or an earlier one."""
        return self._furthest


class HeartbeatSender:
    """A worker's side: beats from a thread of its own, so that a busy training thread is no silent worker."""

    def __init__(self, heartbeats: Any, worker: int) -> None:
        self.step = 0
        self.phase = "starting"
        self.order = Instruction.GO_ON
        self._heartbeats = heartbeats
        self._over = threading.Event()
        self._member = Member(worker, os.getpid(), ray.get_runtime_context().get_node_id())
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """No beat comes after this, and none is missed."""
        self._over.set()
        self._thread.join()  # a beat that came after the goodbye would be taken for a process that fell silent
        self._heartbeats.gone.remote(self._member.worker, self._member.pid)

    def _run(self) -> None:
        while not self._over.is_set():
            where, waits = whereabouts(self._watched)
            beat = Heartbeat(self._member, self.step, self.phase, where, waits, load_per_core())
            try:
                self.order = ray.get(self._heartbeats.beat.remote(beat), timeout=ANSWER_S)
            except ActorDiedError:
                _leave("the driver is gone")
            except Exception as error:
                log.warning("a heartbeat was not taken: %s", error)
            if self.order is Instruction.BEGONE:
                _leave("the group it belongs to is over")
            self._over.wait(BEAT_S)


def whereabouts(thread: int) -> tuple[str, bool]:
    """Where a thread of this process stands (our own innermost line, else any), and whether it waits for others."""
    frame: FrameType | None = sys._current_frames().get(thread)
    innermost = ""
    ours = ""
    waits = False
    while frame is not None:
        name = frame.f_code.co_filename
        line = f"{'/'.join(name.split('/')[-2:])}:{frame.f_lineno} {frame.f_code.co_name}"
        innermost = innermost or line
        ours = ours or (line if name.startswith(OURS) else "")
        waits = waits or "/torch/distributed/" in name
        frame = frame.f_back
    return ours or innermost, waits


def _leave(cause: str) -> None:
    """Ends this process without another line written to the Record but this one."""
    log.warning("worker process %d leaves: %s", os.getpid(), cause)
    os._exit(1)
