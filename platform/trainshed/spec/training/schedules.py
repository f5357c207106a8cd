"""Learning-rate schedules: pure functions of the step, so that nothing but the step needs a checkpoint.

`factor(step, total)` is what the peak learning rate is multiplied by on optimizer step `step` (0-based) of `total`.
Warm-up is linear and its first step is not lost: step 0 has factor 1 / warmup_steps (Hugging Face's has rate 0 there),
step warmup_steps - 1 has the peak, and what follows is torch's schedule begun at step warmup_steps.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator

from trainshed.spec.document.part import Count, Part, Positive, Ratio, Steps
from trainshed.spec.training.points import Points

Falling = Annotated[float, Field(gt=0.0, le=1.0)]


class Constant(Part):
    """Linear warm-up, then the peak to the end."""

    kind: Literal["constant"] = "constant"
    warmup_steps: Steps = 0

    def factor(self, step: int, total: int) -> float:  # noqa: ARG002 - all schedules are called alike
        """The multiple of the peak rate at `step`; `total` does not matter here."""
        return _warmup(step, self.warmup_steps) if step < self.warmup_steps else 1.0


class Linear(Part):
    """Linear warm-up, then a straight line down to `floor` of the peak."""

    kind: Literal["linear"] = "linear"
    warmup_steps: Steps = 0
    floor: Ratio = 0.0
    """The last step's rate as a part of the peak."""

    def factor(self, step: int, total: int) -> float:
        """The multiple of the peak rate at `step` of `total`."""
        if step < self.warmup_steps:
            return _warmup(step, self.warmup_steps)
        return _between(self.floor, 1.0 - _progress(step, self.warmup_steps, total))


class Cosine(Part):
    """Linear warm-up, then half a cosine down to `floor` of the peak (arXiv 1608.03983)."""

    kind: Literal["cosine"] = "cosine"
    warmup_steps: Steps = 0
    floor: Ratio = 0.1
    """The last step's rate as a part of the peak."""

    def factor(self, step: int, total: int) -> float:
        """The multiple of the peak rate at `step` of `total`."""
        if step < self.warmup_steps:
            return _warmup(step, self.warmup_steps)
        return _between(self.floor, _half_cosine(_progress(step, self.warmup_steps, total)))


class CosineRestarts(Part):
    """Linear warm-up, then half cosines that jump back to the peak (SGDR, arXiv 1608.03983)."""

    kind: Literal["cosine_restarts"] = "cosine_restarts"
    warmup_steps: Steps = 0
    cycle_steps: Count
    """Steps of the first cycle; the second begins with a jump back to the peak."""
    cycle_growth: Count = 1
    """Each cycle is this many times as long as the one before."""
    floor: Ratio = 0.0
    """What each cycle falls towards, as a part of the peak."""

    def factor(self, step: int, total: int) -> float:  # noqa: ARG002 - all schedules are called alike
        """The multiple of the peak rate at `step`; `total` does not matter here."""
        if step < self.warmup_steps:
            return _warmup(step, self.warmup_steps)
        inside = step - self.warmup_steps
        cycle = self.cycle_steps
        if self.cycle_growth == 1:
            inside %= cycle
        while inside >= cycle:
            inside = inside - cycle
            cycle = cycle * self.cycle_growth
        return _between(self.floor, _half_cosine(inside / cycle))


class Polynomial(Part):
    """Linear warm-up, then (1 - progress) ** power down to `floor` of the peak."""

    kind: Literal["polynomial"] = "polynomial"
    warmup_steps: Steps = 0
    power: Positive = 2.0
    """1 is a straight line; more falls early, less falls late."""
    floor: Ratio = 0.0
    """The last step's rate as a part of the peak."""

    def factor(self, step: int, total: int) -> float:
        """The multiple of the peak rate at `step` of `total`."""
        if step < self.warmup_steps:
            return _warmup(step, self.warmup_steps)
        return _between(self.floor, (1.0 - _progress(step, self.warmup_steps, total)) ** self.power)


class Step(Part):
    """Linear warm-up, then the rate is multiplied by `gamma` every `every_steps`."""

    kind: Literal["step"] = "step"
    warmup_steps: Steps = 0
    every_steps: Count
    """Steps between two falls, counted from the end of warm-up."""
    gamma: Falling = 0.1
    """What the rate is multiplied by at each fall."""

    def factor(self, step: int, total: int) -> float:  # noqa: ARG002 - all schedules are called alike
        """The multiple of the peak rate at `step`; `total` does not matter here."""
        if step < self.warmup_steps:
            return _warmup(step, self.warmup_steps)
        return float(self.gamma ** ((step - self.warmup_steps) // self.every_steps))


class MultiStep(Part):
    """Linear warm-up, then the rate is multiplied by `gamma` at each of `milestones`."""

    kind: Literal["multi_step"] = "multi_step"
    warmup_steps: Steps = 0
    milestones: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Optimizer steps at which the rate falls, rising, counted from the start of training."""
    gamma: Falling = 0.1
    """What the rate is multiplied by at each milestone."""

    @field_validator("milestones")
    @classmethod
    def _rise(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        for before, after in pairwise(milestones):
            if after <= before:
                raise ValueError(f"milestones must rise: {after} stands after {before}")
        return milestones

    def factor(self, step: int, total: int) -> float:  # noqa: ARG002 - all schedules are called alike
        """The multiple of the peak rate at `step`; `total` does not matter here."""
        if step < self.warmup_steps:
            return _warmup(step, self.warmup_steps)
        return float(self.gamma ** sum(step >= milestone for milestone in self.milestones))


class Exponential(Part):
    """Linear warm-up, then the rate is multiplied by `gamma` on every step."""

    kind: Literal["exponential"] = "exponential"
    warmup_steps: Steps = 0
    gamma: Falling
    """What each step multiplies the rate by: 0.999 halves it in 693 steps."""

    def factor(self, step: int, total: int) -> float:  # noqa: ARG002 - all schedules are called alike
        """The multiple of the peak rate at `step`; `total` does not matter here."""
        if step < self.warmup_steps:
            return _warmup(step, self.warmup_steps)
        return float(self.gamma ** (step - self.warmup_steps))


class InverseSqrt(Part):
    """Linear warm-up, then one over the square root of the step (arXiv 1706.03762)."""

    kind: Literal["inverse_sqrt"] = "inverse_sqrt"
    warmup_steps: Steps = 0
    timescale_steps: Count | None = None
    """The rate has halved after three times these steps; `warmup_steps`, or 10,000, where it is not given."""

    def factor(self, step: int, total: int) -> float:  # noqa: ARG002 - all schedules are called alike
        """The multiple of the peak rate at `step`; `total` does not matter here."""
        if step < self.warmup_steps:
            return _warmup(step, self.warmup_steps)
        timescale = self.timescale_steps or self.warmup_steps or 10_000
        return math.sqrt(timescale / (timescale + step - self.warmup_steps))


class WarmupStableDecay(Part):
    """Linear warm-up, the peak, then a line down to `floor` over the last `decay` of all steps (arXiv 2404.06395)."""

    kind: Literal["wsd"] = "wsd"
    warmup_steps: Steps = 0
    decay: Ratio = 0.2
    """The part of all steps, at the end, over which the rate falls."""
    floor: Ratio = 0.0
    """The last step's rate as a part of the peak."""

    def factor(self, step: int, total: int) -> float:
        """The multiple of the peak rate at `step` of `total`."""
        if step < self.warmup_steps:
            return _warmup(step, self.warmup_steps)
        decay_start = max(self.warmup_steps, total - 1 - round(self.decay * total))
        return _between(self.floor, 1.0 - _progress(step, decay_start, total))


class OneCycle(Part):
    """Half a cosine up from `start` to the peak, then half a cosine down to `floor` (arXiv 1708.07120)."""

    kind: Literal["one_cycle"] = "one_cycle"
    warmup_steps: Count | None = None
    """Steps of the rise, whose last has the peak; 30 % of all steps where it is not given."""
    start: Ratio = 0.04
    """The first step's rate as a part of the peak."""
    floor: Ratio = 4e-6
    """The last step's rate as a part of the peak."""

    def factor(self, step: int, total: int) -> float:
        """The multiple of the peak rate at `step` of `total`; here warm-up is a part of the curve."""
        peak = (self.warmup_steps or max(1, round(0.3 * total))) - 1
        if step < peak:
            return _between(self.start, _half_cosine(1.0 - step / peak))
        return _between(self.floor, _half_cosine(_progress(step, peak, total)))


Schedule = Annotated[
    Constant
    | Linear
    | Cosine
    | CosineRestarts
    | Polynomial
    | Step
    | MultiStep
    | Exponential
    | InverseSqrt
    | WarmupStableDecay
    | OneCycle
    | Points,
    Field(discriminator="kind"),
]


def misfit(schedule: Schedule, total: int) -> str | None:
    """What of a schedule cannot be in a training of `total` steps, in one line; None where all of it can."""
    warmup = schedule.warmup_steps or 0
    if warmup > total:
        return f"schedule.warmup_steps must not be over steps: {warmup} is over {total}"
    match schedule:
        case MultiStep(milestones=milestones) if milestones[-1] >= total:
            return f"schedule.milestones must be under steps: {milestones[-1]} is not under {total}"
        case MultiStep(milestones=milestones) if milestones[0] < warmup:
            return f"schedule.milestones must not be in warm-up: {milestones[0]} is under warmup_steps, {warmup}"
        case CosineRestarts(cycle_steps=cycle) if warmup + cycle >= total:
            return (
                f"schedule.cycle_steps leaves no restart in {total} steps: warmup_steps + cycle_steps is "
                f"{warmup + cycle}; make it shorter, or use kind cosine"
            )
        case Step(every_steps=every) if warmup + every >= total:
            return (
                f"schedule.every_steps leaves no fall in {total} steps: warmup_steps + every_steps is "
                f"{warmup + every}; make it shorter, or use kind constant"
            )
        case _:
            return None


def _warmup(step: int, warmup_steps: int) -> float:
    return (step + 1) / warmup_steps


def _progress(step: int, start: int, total: int) -> float:
    """0 at `start`, 1 at the last step."""
    return min(1.0, max(0.0, (step - start) / max(1, total - 1 - start)))


def _half_cosine(progress: float) -> float:
    """1 where progress is 0, 0 where it is 1."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _between(floor: float, part: float) -> float:
    """`floor` where `part` is 0, the peak where it is 1."""
    return floor + (1.0 - floor) * part
