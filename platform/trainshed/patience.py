"""How long to wait for what a busy machine does late.

A limit is written for a quiet machine; it grows with the processes that wait for each core, and with what the same
thing took before. Waiting too long costs a minute, giving up too early a healthy worker, a cluster or an endpoint.
Knows the load of this machine; does not know what is waited for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

SLACK = 3.0
"""So many times as long as it took before may it take again."""
MOST = 20.0
"""So many times the limit of a quiet machine, at most: what has died must be found out some day."""


@dataclass(frozen=True)
class Patience:
    """A limit, and what it was made of."""

    base_s: float
    load: float
    took_s: float

    @property
    def seconds(self) -> float:
        """How long to wait."""
        grown = max(self.base_s * max(1.0, self.load), SLACK * self.took_s)
        return min(grown, MOST * self.base_s)

    def __str__(self) -> str:
        """`45 s (15 s at a load of 3.0 per core)`."""
        if self.seconds <= self.base_s:
            return f"{self.base_s:.0f} s"
        if self.load > 1.0 and self.base_s * self.load >= SLACK * self.took_s:
            return f"{self.seconds:.0f} s ({self.base_s:.0f} s at a load of {self.load:.1f} per core)"
        return f"{self.seconds:.0f} s ({self.base_s:.0f} s; it took {self.took_s:.0f} s before)"


def patience(base_s: float, *, took_s: float = 0.0, load: float | None = None) -> Patience:
    """The limit now, for this machine unless `load` says another's."""
    return Patience(base_s, load_per_core() if load is None else load, took_s)


class Wait:
    """One wait, which begins when it is made. Its limit grows while the machine gets busier, and never shrinks."""

    def __init__(
        self,
        base_s: float,
        *,
        took_s: float = 0.0,
        exact: bool = False,
        clock: Callable[[], float] = time.monotonic,
        load: Callable[[], float] | None = None,
    ) -> None:
        """`exact`: somebody said how long, so that it does not grow."""
        self._clock = clock
        self._began = clock()
        self._load: Callable[[], float] = _no_load if exact else load or load_per_core
        self.limit = Patience(base_s, self._load(), 0.0 if exact else took_s)

    @property
    def passed_s(self) -> float:
        """Since it began."""
        return self._clock() - self._began

    @property
    def over(self) -> bool:
        """Whether it is time to give up."""
        now = Patience(self.limit.base_s, self._load(), self.limit.took_s)
        self.limit = max(self.limit, now, key=lambda one: one.seconds)
        return self.passed_s > self.limit.seconds

    def __str__(self) -> str:
        """The limit, and what it was made of."""
        return str(self.limit)


def load_per_core() -> float:
    """Processes that want to run, for each core that this one may use; the higher of the last minute and the last five.

    The mean of a minute lags behind: where load has just risen it shows a part of it.
    """
    try:
        one, five, _ = os.getloadavg()
    except OSError:  # a system that does not count them
        return 0.0
    return max(one, five) / _cores()


def _no_load() -> float:
    return 0.0


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
