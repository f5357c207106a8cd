"""A schedule that is written out: what a population of trainings has found, ready to be followed again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator

from trainshed.spec.document.part import NonNegative, Part, Steps

TOLERANCE = 1e-9


class Points(Part):
    """Straight lines between given points, the last one's factor to the end."""

    kind: Literal["points"] = "points"
    points: Annotated[tuple[tuple[Steps, NonNegative], ...], Field(min_length=1)]
    """`[step, factor]`, steps rising from 0; the rate at a step is the factor times the peak."""

    @field_validator("points")
    @classmethod
    def _rising(cls, points: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
        steps = [step for step, _ in points]
        if steps[0] != 0 or any(later <= earlier for earlier, later in pairwise(steps)):
            raise ValueError(f"steps of points begin with 0 and rise, got {steps[:8]}")
        return points

    @property
    def warmup_steps(self) -> int:
        """None of its own: the points say it."""
        return 0

    def factor(self, step: int, total: int) -> float:  # noqa: ARG002 - all schedules are called alike
        """The multiple of the peak rate at `step`; `total` does not matter here."""
        return self._at(step)

    def _at(self, step: float) -> float:
        after = bisect_right(self.points, step, key=lambda point: point[0])
        if after == len(self.points):
            return self.points[-1][1]
        (left, low) = self.points[after - 1]
        (right, high) = self.points[after]
        return low + (high - low) * (step - left) / (right - left)

    def scaled(self, *, old: int, new: int) -> Points:
        """The same curve over `new` steps, where these points are of a training of `old`."""
        ratio = (old - 1) / max(1, new - 1)
        if ratio > 1:  # points would fall together: the curve is read at every step
            return Points(points=tuple((step, self._at(step * ratio)) for step in range(new)))
        return Points(points=tuple((round(step / max(1e-9, ratio)), value) for step, value in self.points))


def points_of(rates: Sequence[float]) -> tuple[float, Points]:
    """Peak and schedule of the learning rates of steps 0, 1, ...; a point only where the line bends."""
    peak = max(rates)
    factors = [rate / peak for rate in rates]
    kept = [0]
    for step in range(1, len(factors) - 1):
        before, here, after = factors[step - 1 : step + 2]
        if abs((here - before) - (after - here)) > TOLERANCE:
            kept.append(step)
    if len(factors) > 1:
        kept.append(len(factors) - 1)
    return peak, Points(points=tuple((step, factors[step]) for step in kept))
