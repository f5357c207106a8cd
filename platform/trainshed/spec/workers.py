"""The processes that train, and what each one gets."""

from __future__ import annotations

from trainshed.spec.part import Count, NonNegative, Part, Positive


class Workers(Part):
    """How many processes train, and what each one gets."""

    count: Count = 1
    gpus: NonNegative = 0
    """GPUs per worker."""
    cpus: Positive = 1
    """CPUs per worker."""
    per_device_batch_size: Count = 8
    """Blocks in one forward pass of one worker."""
    memory_gb: Positive | None = None
    """Memory a worker may use for model and optimizer states; the plan refuses what is over it."""
