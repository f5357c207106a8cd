"""What a tracker is asked for, in words of a run; each library of a tracker has a file of its own beside this one.

Knows no library, no process and no file. A tracker may be slow, down or full: then its methods raise `Unavailable`,
and whoever calls them asks again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, runtime_checkable

from trainshed.errors import PlatformError
from trainshed.record.metric_rows import MetricRow
from trainshed.record.tracking import TrackedFacts

Setting = str | int | float | bool
"""The value of a parameter; what is no single value is JSON."""


class Unavailable(PlatformError):
    """A tracker does not answer, refuses what it was sent, or has no room; in one line."""


class Outcome(Enum):
    """How a run ended, in the three words that trackers have for it."""

    FINISHED = "finished"
    FAILED = "failed"
    KILLED = "killed"


@dataclass(frozen=True)
class Head:
    """A run of ours, or a trial of a sweep, as a tracker learns of it."""

    key: str
    """Nothing else has it: a tracker finds the run again by it."""
    name: str
    kind: str
    """`train`, `tune` or `trial`."""
    params: Mapping[str, Setting] = field(default_factory=dict)
    """By dotted path."""
    tags: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None
    """The key of the sweep, of a sweep and of its trials."""
    parent: str | None = None
    """The sweep's own id in this tracker, of a trial."""


@dataclass(frozen=True)
class Ending:
    """How it ended, and what is known of it then."""

    outcome: Outcome
    step: int
    """The last one; what `figures` says is of it."""
    time_s: float
    """When it ended, since the epoch: the same however often it is said."""
    figures: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


class TrackerRun(Protocol):
    """One run in a tracker."""

    @property
    def id(self) -> str:
        """Its id there."""

    @property
    def where(self) -> str | None:
        """An address or a folder to look at."""

    @property
    def stands(self) -> int:
        """The last step that the tracker had when the run was opened."""

    def log(self, rows: Sequence[MetricRow]) -> None:
        """Adds the figures of steps, each of which is later than all before it."""

    def end(self, ending: Ending) -> None:
        """Says how it ended. Said again, it changes nothing."""

    def leave(self) -> None:
        """Closes what this process holds of it; the run goes on under another process, or has ended."""


@runtime_checkable
class ForgettingRun(TrackerRun, Protocol):
    """One run in a tracker that can forget figures; to others they are sent once no restart does them again."""

    def take_back(self, step: int) -> None:
        """Forgets the figures of all later steps."""


class Tracker(Protocol):
    """One tracker, as the job has set it."""

    def open(self, head: Head, known: TrackedFacts | None) -> TrackerRun:
        """The tracker's run of this head: the one it has, else a new one. `known` is what the Record has kept of it."""

    def close(self) -> None:
        """Waits for what the tracker's library still writes; nothing is asked of it afterwards."""


def figures_of(row: MetricRow) -> dict[str, float]:
    """The figures of a row that a tracker draws over steps."""
    return {
        name: float(value)
        for name, value in row.numbers.items()
        if name not in ("step", "time") and not isinstance(value, bool)
    }


def first_line(error: BaseException) -> str:
    """What an error says, in one short line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 240 else f"{words[:237]}..."
