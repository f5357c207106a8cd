"""Learning-rate schedules: pure functions of the step, so that nothing but the step needs a checkpoint.

`factor(step, total)` is what the peak learning rate is multiplied by on optimizer step `step` (0-based) of `total`.
Warm-up is linear and its first step is not lost: step 0 has factor 1 / warmup_steps (Hugging Face's has rate 0 there).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from trainshed.spec.part import Part, Ratio, Steps


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
        return 1.0 - (1.0 - self.floor) * _progress(step, self.warmup_steps, total)


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
        half_cosine = 0.5 * (1.0 + math.cos(math.pi * _progress(step, self.warmup_steps, total)))
        return self.floor + (1.0 - self.floor) * half_cosine


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
        return 1.0 - (1.0 - self.floor) * _progress(step, decay_start, total)


Schedule = Annotated[Constant | Linear | Cosine | WarmupStableDecay, Field(discriminator="kind")]


def _warmup(step: int, warmup_steps: int) -> float:
    return (step + 1) / warmup_steps


def _progress(step: int, start: int, total: int) -> float:
    """0 at `start`, 1 at the last step."""
    return min(1.0, max(0.0, (step - start) / max(1, total - 1 - start)))
