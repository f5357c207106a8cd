"""Which settings of a sweep's space can be a trial: those that can stand together and that its constraints allow.

Each search draws through `Possible`, which counts what it refuses. A space with an end is gone through one combination
at a time, by its number: nothing holds all of them. Knows no search, and nothing of what trials came to.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any, Protocol

from pydantic import JsonValue

from trainshed.errors import SpecError
from trainshed.spec.sweep.constraints import parse
from trainshed.spec.sweep.range_values import count, pick_at_random, point
from trainshed.spec.sweep.space import Range, draw
from trainshed.spec.training.train import Training

Settings = dict[str, JsonValue]
Pick = Callable[[str, Range], JsonValue]

MOST_LOOKED_AT = 4096
"""Combinations of a space that are all tried before anything runs."""
MOST_DRAWN = 1000
"""So many are drawn at random instead, of a larger space or one without an end."""
MOST_LISTED = 20_000
"""Combinations among which one is sought that was not tried yet."""
DRAWS = 200
"""So often a search that is refused, or repeats what was tried, draws anew before it goes through what is left."""
DIGITS = 12
"""Digits of a number that tell two settings apart."""


class Searched(Protocol):
    """The part of a sweep that says where it searches."""

    @property
    def space(self) -> Mapping[str, Range]:
        """Path: range."""

    @property
    def train(self) -> Training:
        """What the paths lead into."""

    @property
    def constraints(self) -> tuple[str, ...]:
        """What every trial must have."""


class Possible:
    """Draws of a sweep's space, each of which can be a trial."""

    def __init__(self, job: Searched) -> None:
        self._job = job
        self._constraints = [parse(text) for text in job.constraints]
        self.refused = 0
        """Draws that could not be a trial."""
        self.why = ""
        """What was wrong with the first of them."""

    def drawn(self, pick: Pick) -> Settings | None:
        """What `pick` makes of the space; None, and counted, where that cannot be a trial."""
        settings, wrong = self._tried(pick)
        if wrong is None:
            return settings
        self._refuse(wrong, settings)
        return None

    def broken_by(self, training: Training) -> str | None:
        """The first constraint that a training does not keep, in words."""
        if not self._constraints:
            return None
        data = training.model_dump(mode="json", by_alias=True)
        broken = next((one for one in self._constraints if not one.holds(data)), None)
        return None if broken is None else f"the constraint `{broken.text}` does not hold"

    def allows(self, settings: Mapping[str, JsonValue]) -> bool:
        """Whether whole settings, of another sweep perhaps, can be a trial here; refusing them is not counted."""
        other = Possible(self._job)
        return settings.keys() <= self._job.space.keys() and (
            other.drawn(lambda path, values: settings[path] if path in settings else _first(values)) == dict(settings)
        )

    def at_random(self, source: random.Random, given: Settings | None = None) -> Settings | None:
        """A random trial, with some settings given; None: none was among many draws."""
        draws = (self.drawn(_with(given or {}, pick_at_random(source))) for _ in range(DRAWS))
        return next((settings for settings in draws if settings is not None), None)

    def not_among(self, tried: Container[str], source: random.Random, given: Settings | None = None) -> Settings | None:
        """A random trial that is not among those tried, by their `key`; None: none was found, or none is left."""
        for _ in range(DRAWS):
            settings = self.drawn(_with(given or {}, pick_at_random(source)))
            if settings is not None and key(settings) not in tried:
                return settings
        if self.size is None or self.size > MOST_LISTED:
            return None
        left = [one for one in self.combinations(given) if key(one) not in tried]
        return source.choice(left) if left else None

    @property
    def size(self) -> int | None:
        """Combinations of the space, those that cannot be included; None: it has no end of them."""
        counts = [count(values) for values in self._job.space.values()]
        return None if None in counts else math.prod(number or 1 for number in counts)

    def combinations(self, given: Settings | None = None) -> Iterator[Settings]:
        """Every trial of a space with an end, each once; the last path of the space changes fastest.

        Raises:
            ValueError: the space has no end.
        """
        if self.size is None:
            raise ValueError("a grid needs ranges with so many values")
        fixed = given or {}
        for number in range(self.size):
            places = _places(self._job.space, number)
            if any(places[path] for path in fixed):
                continue
            pick = _with(fixed, lambda path, values, places=places: point(values, places[path]))  # type: ignore[misc]
            settings, wrong = self._tried(pick)
            if any(places[path] for path in places.keys() - settings.keys()):
                continue  # combinations that differ in what is not set are one: the first of them
            if wrong is None:
                yield settings
            else:
                self._refuse(wrong, settings)

    def _tried(self, pick: Pick) -> tuple[Settings, str | None]:
        """What was picked, and why that cannot be a trial; None: it can."""
        picked: Settings = {}

        def remembered(path: str, values: Range) -> JsonValue:
            picked[path] = pick(path, values)
            return picked[path]

        try:
            _, training = draw(self._job.space, self._job.train, remembered)
        except SpecError as error:
            return picked, error.faults[0].message
        return picked, self.broken_by(training)

    def _refuse(self, why: str, picked: Settings) -> None:
        self.refused += 1
        if self.refused == 1:
            self.why = f"{why} (with {', '.join(f'{path} {short(value)}' for path, value in picked.items())})"


def key(settings: Mapping[str, JsonValue]) -> str:
    """Tells settings apart, whatever the last digit of a number that was worked out in another way."""
    return json.dumps({path: _rounded(value) for path, value in settings.items()}, sort_keys=True)


def short(value: JsonValue) -> str:
    """A value in a sentence."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _rounded(value: JsonValue) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _with(given: Settings, pick: Pick) -> Pick:
    return lambda path, values: given[path] if path in given else pick(path, values)


def _first(values: Range) -> JsonValue:
    return point(values, 0) if count(values) is not None else None


def _places(space: Mapping[str, Range], number: int) -> dict[str, int]:
    """Which value of each range the so-many-th combination has."""
    places: dict[str, int] = {}
    for path, values in reversed(list(space.items())):
        number, places[path] = divmod(number, count(values) or 1)
    return places
