"""When training state is saved, and when the held-out loss is taken."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trainshed.spec.document.part import Count, Part, Positive


class Checkpoints(Part):
    """When training state is saved, and how many saves are kept."""

    every_steps: Count = 100
    keep: Count = 2
    """The newest so many."""
    keep_best: Annotated[int, Field(ge=0)] = 1
    """Beside the newest, so many with the lowest validation loss."""


class Recovery(Part):
    """What happens when the loss is no number any more, or leaps: back to the last checkpoint, and around the batch."""

    attempts: Annotated[int, Field(ge=0)] = 3
    """Rollbacks in one run; 0 is off. After them a loss that is no number ends the run, and a leap is let be."""
    skip_steps: Count = 1
    """Batches that are left out, the guilty one last."""
    spike_sigmas: Positive | None = 10.0
    """A loss this many standard deviations over the mean of the steps before it is a leap; null: only NaN counts."""
    spike_window: Annotated[int, Field(ge=8)] = 64
    """Steps that mean and deviation are taken over; none counts as a leap before there are so many."""


class Validation(Part):
    """How often the held-out loss is taken, and on how much."""

    every_steps: Count = 50
    max_samples: Count = 256
    """The first so many samples of the validation split, blocks or examples; the same ones every time."""
    at_start: bool = False
    """Also before the first step, as step 0: what a model can that is there already. Nothing is decided by it."""
