"""A search by evolution: each trial is a mutation of the best one so far. nevergrad's (1+1), asked and told here.

Ray's own NevergradSearch is not used: it takes no seed for a trial, cannot be told what given settings came to, and
knows no settings that hang on others. Here a searcher is made for every trial from the sweep's seed, the trial's number
and all that was told, in the order of numbers; nothing else decides what the trial gets.

nevergrad sees one coordinate a path, standard normal: the share of the range's mass that lies below a value, through
the bell. A coordinate that is drawn anew is then a value drawn anew from its range, a whole variant like a number.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import NormalDist
from typing import assert_never

import nevergrad
import numpy as np
from pydantic import JsonValue

from trainshed.record.trials import is_measured
from trainshed.spec.search import Evolution
from trainshed.spec.space import Choice, Integer, LogUniform, Normal, Range, Uniform, draw, points
from trainshed.spec.tune import TuneJob

Settings = dict[str, JsonValue]

ATTEMPTS = 10
"""So often another mutation is drawn where one changes nothing that was not tried before."""
EDGE = 1e-9
BELL = NormalDist()


class Evolving:
    """Choices of a sweep's settings by nevergrad's DiscreteOnePlusOne: of the best trial each setting is drawn anew,
    from its whole range, with probability 1 / settings, and at least one is.

    nevergrad's documentation names this family (PortfolioDiscreteOnePlusOne, which draws the number of changes too)
    for hyperparameters that are partly categorical. Measured here against random search on three functions of six
    settings (a rate with schedule, sizes and dropout; choices alone; a curved valley): the best after 40 trials was
    better in 19, 19 and 19 of 20 seeds, the portfolio's in 18, 17 and 17. On functions of that kind OnePlusOne was
    better in 11, 15 and 20, all of it in the valley; TwoPointsDE, advised for larger budgets, in 11, 9 and 5. NGOpt
    becomes OnePlusOne, and a model of the function that fails under numpy 2.4.
    """

    def __init__(self, job: TuneJob, search: Evolution, earlier: Sequence[tuple[Settings, float]]) -> None:
        self._job, self._search, self._earlier = job, search, tuple(earlier)
        self._handed_out: dict[int, Settings] = {}
        self._told: dict[int, float] = {}

    def settings(self, number: int, recorded: Settings | None) -> Settings:
        """What a trial gets: what it had before, or a mutation that was not tried yet, where one is found."""
        found = recorded if recorded is not None else self._drawn(number, 0)
        tried = [*self._handed_out.values(), *(settings for settings, _ in self._earlier)]
        for attempt in range(1, ATTEMPTS):
            if recorded is not None or found not in tried:
                break
            found = self._drawn(number, attempt)
        self._handed_out[number] = found
        return found

    def tell(self, number: int, value: float | None) -> None:
        """What a trial came to; one without a figure teaches nothing."""
        if value is not None and is_measured(value):
            self._told[number] = value

    def _drawn(self, number: int, attempt: int) -> Settings:
        now = [(self._handed_out[one], self._told[one]) for one in sorted(self._told)]
        told = [(self._coordinates(settings), settings, value) for settings, value in (*self._earlier, *now)]
        asked = self._asked(number, attempt, [(point, value) for point, _, value in told])
        start = self._search.start_with
        given = start[number] if number < len(start) else {}
        at = dict(zip(self._job.space, range(len(asked)), strict=True))

        def pick(path: str, values: Range) -> JsonValue:
            if path in given:
                return given[path]
            kept = (one[path] for point, one, _ in told if point[at[path]] == asked[at[path]] and path in one)
            return next(kept, at_share(values, BELL.cdf(asked[at[path]])))  # to the last digit what it was

        return draw(self._job.space, self._job.train, pick)[0]

    def _asked(self, number: int, attempt: int, told: Sequence[tuple[list[float], float]]) -> list[float]:
        """The trial's coordinates: the middle of every range at first, then mutations."""
        seed = random.Random(f"{self._search.seed}/{number}/{attempt}").randrange(2**32)
        origin = nevergrad.p.Array(shape=(len(self._job.space),))
        origin.random_state = np.random.RandomState(seed)
        searcher = nevergrad.optimizers.registry["DiscreteOnePlusOne"](origin, budget=self._job.trials)
        middle = searcher.ask()  # whatever the seed
        if number == attempt == 0 and not told:
            return [float(one) for one in middle.value]
        sign = 1.0 if self._job.mode == "min" else -1.0
        for point, value in told:
            searcher.tell(origin.spawn_child(new_value=np.array(point)), sign * value)
        return [float(one) for one in searcher.ask().value]

    def _coordinates(self, settings: Settings) -> list[float]:
        """Where settings lie; what a condition has left out stands in the middle."""
        return [
            BELL.inv_cdf(min(1 - EDGE, max(EDGE, share_of(values, settings[path])))) if path in settings else 0.0
            for path, values in self._job.space.items()
        ]


def at_share(values: Range, share: float) -> JsonValue:
    """The value of a range that `share` of its mass, 0 to 1, lies below."""
    match values:
        case Uniform(uniform=(low, high), step=None):
            return min(high, low + share * (high - low))
        case LogUniform(log_uniform=(low, high)):
            return min(high, max(low, float(low * (high / low) ** share)))
        case Integer(integer=(first, last), log=True):
            return min(last, int(first * ((last + 1) / first) ** share))
        case Normal():
            return values.at_share(share)
        case Uniform() | Integer() | Choice():
            options = points(values) or ()
            return options[min(len(options) - 1, int(share * len(options)))]
        case _:
            assert_never(values)


def share_of(values: Range, value: JsonValue) -> float:
    """The share of a range's mass that lies below a value of it; for one of a few values the middle of its share."""
    if isinstance(values, Choice):
        return (values.choice.index(value) + 0.5) / len(values.choice)
    assert isinstance(value, int | float)
    match values:
        case Uniform(uniform=(low, high), step=None):
            return (value - low) / (high - low)
        case LogUniform(log_uniform=(low, high)):
            return math.log(value / low) / math.log(high / low)
        case Integer(integer=(first, last), log=True):
            return math.log((value + 0.5) / first) / math.log((last + 1) / first)
        case Normal():
            return values.share_of(value)
        case Uniform(uniform=(low, _), step=float(step)):
            return (round((value - low) / step) + 0.5) / len(points(values) or ())
        case Integer(integer=(first, _), step=stride):
            return ((value - first) // stride + 0.5) / len(points(values) or ())
        case _:
            raise AssertionError(values)
