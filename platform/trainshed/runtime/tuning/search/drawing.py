"""The searches that learn nothing: settings drawn at random, and the points of a grid in their order."""

from __future__ import annotations

import random

from trainshed.spec.sweep.possible import Possible, Settings, key
from trainshed.spec.sweep.search import RandomSearch


class Drawn:
    """Random search: a trial's settings are a function of seed and number, drawn anew where they were drawn before."""

    def __init__(self, search: RandomSearch, possible: Possible) -> None:
        self._search = search
        self._possible = possible
        self._tried: set[str] = set()

    def settings(self, number: int, recorded: Settings | None) -> Settings | None:
        """What a trial had before, or a draw that no trial has had."""
        start = self._search.start_with
        source = random.Random(f"{self._search.seed}/{number}")
        found = None
        if number < len(start):
            found = self._possible.not_among(self._tried, source, start[number])
        if found is None:
            found = self._possible.not_among(self._tried, source)
        found = recorded if recorded is not None else found  # drawn in any case: refused draws are counted alike
        if found is not None:
            self._tried.add(key(found))
        return found

    def tell(self, number: int, value: float | None) -> None:
        """Does nothing: this search does not learn."""


class Gridded:
    """The points of a grid, in the order of the space: the last setting changes fastest. Each is made when its turn
    comes."""

    def __init__(self, possible: Possible) -> None:
        self._points = possible.combinations()

    def settings(self, number: int, recorded: Settings | None) -> Settings | None:  # noqa: ARG002
        """The next point; None: it was the last."""
        point = next(self._points, None)
        return recorded if recorded is not None else point

    def tell(self, number: int, value: float | None) -> None:
        """Does nothing: this search does not learn."""
