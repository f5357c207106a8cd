"""What trials have measured, step by step, and so what one that ended early would have come to."""

from __future__ import annotations

import statistics
from collections import defaultdict


class Curves:
    """The metric of each trial by step. `last` is the step of a whole trial's last figure."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._of: dict[int, dict[int, float]] = defaultdict(dict)

    def add(self, number: int, step: int, value: float) -> None:
        """One look at a trial."""
        self._of[number][step] = value

    def end(self, number: int) -> float | None:
        """What a trial came to at its last step. One that ended before it is moved on by as much as whole trials went
        on from the same step (their median), so that a search does not take what is short for what is bad.

        None: it measured nothing.
        """
        own = self._of[number]
        if not own:
            return None
        step = max(own)
        gains = [one[self._last] - one[step] for one in self._of.values() if self._last in one and step in one]
        return own[step] + (statistics.median(gains) if gains else 0.0)

    def drop(self, number: int) -> None:
        """Forgets a trial that failed: what it had measured is no promise of what it would have come to."""
        self._of.pop(number, None)
