"""The values of one range: how many there are, which one is the so-many-th, and which lies at a share of its mass.

What draws (a random number, a population's change, a coordinate of an evolution) and what goes through all of them (a
grid) asks here, so that a value means the same to each. Knows one range; not what stands beside it in a space.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from decimal import Decimal
from typing import assert_never

from pydantic import JsonValue

from trainshed.spec.sweep.space import Choice, Integer, LogUniform, Normal, Range, Uniform, ends

ROUNDING = 1e-9
"""Of a range's width: so far past an end a value is the end, written out by another's arithmetic."""


def count(values: Range) -> int | None:
    """How many values a range has; None: no end of them."""
    match values:
        case Uniform(uniform=(low, high), step=float(step)):
            return int((Decimal(str(high)) - Decimal(str(low))) // Decimal(str(step))) + 1
        case Integer(integer=(first, last), step=stride):
            return (last - first) // stride + 1
        case Choice(choice=options):
            return len(options)
        case _:
            return None


def point(values: Range, number: int) -> JsonValue:
    """The so-many-th value of a range that has a `count`; decimal, so that three steps of 0.1 are 0.3."""
    match values:
        case Uniform(uniform=(low, _), step=float(step)):
            return float(Decimal(str(low)) + number * Decimal(str(step)))
        case Integer(integer=(first, _), step=stride):
            return first + number * stride
        case Choice(choice=options):
            return options[number]
        case _:
            raise ValueError("a range without a step has no end of values")


def nearest(values: Range, value: float) -> float:
    """The value of a range of numbers that is nearest to any number."""
    low, high = (float(str(end)) for end in ends(values))
    total = count(values)
    if total is None:
        return min(high, max(low, value))
    step = values.step if isinstance(values, Uniform | Integer) and values.step is not None else 1
    found = point(values, min(total - 1, max(0, round((value - low) / step))))
    assert isinstance(found, int | float)
    return found


def contains(values: Range, value: JsonValue) -> bool:
    """Whether a range has a value. Between its ends a stepped range has those beside its steps too."""
    if isinstance(values, Choice):
        return value in values.choice
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    low, high = (float(str(end)) for end in ends(values))
    slack = ROUNDING * (high - low)
    return low - slack <= value <= high + slack and (not isinstance(values, Integer) or isinstance(value, int))


def pick_at_random(source: random.Random) -> Callable[[str, Range], JsonValue]:
    """A `pick` for `draw`: each value from its own range."""
    return lambda _, values: at_share(values, source.random())


def at_share(values: Range, share: float) -> JsonValue:
    """The value of a range that `share` of its mass, 0 to 1, lies below."""
    match values:
        case Uniform(uniform=(low, high), step=None):
            return min(high, low + share * (high - low))
        case LogUniform(log_uniform=(low, high)):
            return min(high, max(low, float(low * (high / low) ** share)))
        case Integer(integer=(first, last), log=True):
            low = first - 0.5
            high = last + 0.5  # as Optuna has it: each number from half below to half above
            return min(last, max(first, math.floor(float(low * (high / low) ** share) + 0.5)))
        case Normal():
            return values.at_share(share)
        case Uniform() | Integer() | Choice():
            total = count(values) or 1
            return point(values, min(total - 1, int(share * total)))
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
            low = first - 0.5
            high = last + 0.5
            return math.log(value / low) / math.log(high / low)
        case Normal():
            return values.share_of(value)
        case Uniform(uniform=(low, _), step=float(step)):
            return (round((value - low) / step) + 0.5) / (count(values) or 1)
        case Integer(integer=(first, _), step=stride):
            return ((value - first) // stride + 0.5) / (count(values) or 1)
        case _:
            raise AssertionError(values)
