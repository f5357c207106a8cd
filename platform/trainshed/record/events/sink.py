"""The receiver of events: a run's reporter, worker 0's notes, a list, or nobody."""

from __future__ import annotations

from typing import Protocol

from trainshed.record.events.kinds import Event


class Sink(Protocol):
    """Takes events, one at a time."""

    def __call__(self, event: Event, /) -> None:
        """Something happened."""


def to_nobody(_event: Event) -> None:
    """Discards an event: the sink of workers other than the first, whose events would be the same."""
