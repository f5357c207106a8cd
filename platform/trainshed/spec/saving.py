"""When training state is saved, and when the held-out loss is taken."""

from __future__ import annotations

from trainshed.spec.part import Count, Part


class Checkpoints(Part):
    """When training state is saved, and how many saves are kept."""

    every_steps: Count = 100
    keep: Count = 2


class Validation(Part):
    """How often the held-out loss is taken, and on how many blocks."""

    every_steps: Count = 50
    max_blocks: Count = 256
    """The first so many blocks of the validation split; the same ones every time."""
