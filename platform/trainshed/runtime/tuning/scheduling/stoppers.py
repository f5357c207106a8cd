"""Ends a whole sweep before its last trial: at a limit of its budget, when asked to stop, at too many errors."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from ray.tune import Stopper

from trainshed.record.facts import SpentFacts, read_facts
from trainshed.record.run import Record
from trainshed.spec.sweep.stopping import Budget
from trainshed.spec.sweep.tune import TuneJob

HOUR_S = 3600.0
LOOK_S = 1.0
FILE = "spent.json"


class Why(StrEnum):
    """What ended a sweep before its last trial; what becomes of its result depends on it."""

    BUDGET = "budget"
    STOPPED = "stopped"
    ERRORS = "errors"
    """So many trials failed by an error of the code that the others would too."""


class Spent:
    """What a sweep has used up so far, earlier drivers included."""

    def __init__(self, job: TuneJob, record: Record) -> None:
        workers = job.train.workers
        self._devices = workers.max_count * (job.gpus_of_a_worker or workers.cpus)
        self._began = time.monotonic()
        self._record = record
        before = read_facts(record.storage, record.at(FILE), SpentFacts) or SpentFacts()
        self._before_s = before.wall_s
        self._ended_s = before.device_s
        self._running: dict[int, float] = {}
        self._held_s: dict[int, float] = defaultdict(float)

    def begins(self, number: int) -> None:
        """A trial holds its devices from now on."""
        self._running.setdefault(number, time.monotonic())

    def waits(self, number: int) -> None:
        """A trial that is to go on later lets its devices go until then."""
        if (began := self._running.pop(number, None)) is not None:
            held = (time.monotonic() - began) * self._devices
            self._ended_s += held
            self._held_s[number] += held

    def ends(self, number: int) -> float:
        """A trial lets its devices go; the device-seconds that it has held them for."""
        self.waits(number)
        return self._held_s.pop(number, 0.0)

    def keep(self) -> None:
        """Writes it down, for a driver that goes on after this one."""
        self._record.storage.write_json(self._record.at(FILE), {"wall_s": self.wall_s, "device_s": self.device_s})

    @property
    def wall_s(self) -> float:
        """Seconds of wall time."""
        return self._before_s + time.monotonic() - self._began

    @property
    def device_s(self) -> float:
        """Device-seconds of all trials, those that run included."""
        now = time.monotonic()
        return self._ended_s + sum((now - began) * self._devices for began in self._running.values())


class Ceilings(Stopper):  # type: ignore[misc]
    """Ray Tune asks at every turn of its loop, whether or not a trial has reported."""

    def __init__(
        self, budget: Budget, spent: Spent, *, asked: Callable[[], bool], too_many: Callable[[], str | None]
    ) -> None:
        self._budget = budget
        self._spent = spent
        self._asked = asked
        self._too_many = too_many
        self._looked = 0.0
        self.why: Why | None = None
        self.words = ""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it with its own state, which nobody reads."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002 - the names are Ray Tune's
        """No single trial ends by this."""
        return False

    def stop_all(self) -> bool:
        """Whether the sweep ends now."""
        now = time.monotonic()
        if self.why is None and (said := self._too_many()) is not None:
            self.why = Why.ERRORS
            self.words = said  # at once: trials that fail do so in no time
        if self.why is None and now - self._looked >= LOOK_S:
            self._looked = now
            self._spent.keep()
            self._look()
        return self.why is not None

    def _look(self) -> None:
        if self._asked():
            self.why = Why.STOPPED
            self.words = "asked to stop"
        elif (over := over_budget(self._budget, self._spent.wall_s, self._spent.device_s)) is not None:
            self.why = Why.BUDGET
            self.words = over


def over_budget(budget: Budget, wall_s: float, device_s: float) -> str | None:
    """Which limit is reached, in words; None: none is."""
    hours = wall_s / HOUR_S
    device_hours = device_s / HOUR_S
    if budget.hours is not None and hours >= budget.hours:
        return f"budget.hours: {budget.hours:g} hours are over"
    if budget.device_hours is not None and device_hours >= budget.device_hours:
        return f"budget.device_hours: {budget.device_hours:g} device-hours are used up"
    cost = budget.cost(device_hours)
    currency = f" {budget.currency}" if budget.currency else ""
    if budget.money is not None and cost is not None and cost >= budget.money:
        return f"budget.money: {budget.money:g}{currency} is spent, at {budget.price:g} for a device-hour"
    return None
