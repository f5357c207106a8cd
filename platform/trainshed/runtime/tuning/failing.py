"""What a trial that fails for want of memory is tried again with."""

from __future__ import annotations

from trainshed.spec.train import Training


def with_half_the_batch(training: Training) -> Training | None:
    """The same training with half the samples a pass, and so twice the passes a step; None: there is no half."""
    per_device = training.workers.per_device
    if per_device % 2:
        return None
    workers = training.workers.model_copy(update={"per_device_batch_size": per_device // 2})
    return training.model_copy(update={"workers": workers})
