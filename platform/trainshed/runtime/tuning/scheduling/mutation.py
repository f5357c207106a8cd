"""How the settings of a population's member change when it goes on from another's weights.

Ray's own multiplies and rounds: it knows no steps, draws whole numbers by another law than the first members had, and
cannot ask whether the outcome is a training at all. Here a changed value lies in its range, on its steps, and is never
what it was but at an end; the settings together can be a trial.
"""

from __future__ import annotations

import random

from pydantic import JsonValue

from trainshed.spec.sweep.possible import DRAWS, Pick, Possible, Settings
from trainshed.spec.sweep.range_values import at_share, count, nearest, point
from trainshed.spec.sweep.space import Choice, Range

FACTORS = (0.8, 1.2)
KEPT = 0.5
"""So much of what a bandit chose stands where all of it cannot be a trial."""


def mutated(possible: Possible, settings: Settings, *, resample: float) -> Settings:
    """Every setting changed: drawn anew with probability `resample`, else a step up or down. Where no change was
    found that can be a trial, the settings as they were.

    Draws from Python's global random numbers, as Ray's schedulers do.
    """
    found = (possible.drawn(_changed(settings, resample)) for _ in range(DRAWS))
    return next((one for one in found if one is not None), settings)


def made_possible(possible: Possible, space: dict[str, Range], chosen: Settings, *, else_: Settings) -> Settings:
    """Settings that somebody chose between the ends of each range, on its steps. Where they cannot be a trial, with
    some of them drawn anew; `else_` where none were found that can."""
    placed = {path: nearest(values, float(str(chosen[path]))) for path, values in space.items()}

    def pick(path: str, values: Range) -> JsonValue:
        return placed[path] if random.random() < KEPT else at_share(values, random.random())

    found = possible.drawn(lambda path, _: placed[path])
    if found is not None:
        return found
    tries = (possible.drawn(pick) for _ in range(DRAWS))
    return next((one for one in tries if one is not None), else_)


def _changed(settings: Settings, resample: float) -> Pick:
    def pick(path: str, values: Range) -> JsonValue:
        if random.random() < resample:
            return at_share(values, random.random())
        return _a_step_away(values, settings[path], random.choice(FACTORS))

    return pick


def _a_step_away(values: Range, value: JsonValue, factor: float) -> JsonValue:
    up = 1 if factor > 1 else -1
    if isinstance(values, Choice):
        place = values.choice.index(value) + up
        return values.choice[min(len(values.choice) - 1, max(0, place))]
    assert isinstance(value, int | float)
    moved = nearest(values, value * factor)
    total = count(values)
    if total is None or moved != value:
        return moved
    first, second = (point(values, min(total - 1, number)) for number in (0, 1))
    assert isinstance(first, int | float)
    assert isinstance(second, int | float)
    return nearest(values, value + up * (second - first))
