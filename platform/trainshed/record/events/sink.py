"""Who takes events: a run's reporter, worker 0's notes, a list, or nobody."""

from __future__ import annotations

from typing import Protocol

from trainshed.record.events.kinds import Event


class Sink(Protocol):
    """Takes events, one at a time."""

    def __call__(self, event: Event, /) -> None:
        """Something happened."""


def to_nobody(_event: Event) -> None:
    """For workers other than the first: what there is to tell is the same on all of them."""
