"""What follows from how a trial failed."""

from __future__ import annotations

from trainshed.errors import FailureKind
from trainshed.record.trials import TrialFiles
from trainshed.spec.training.train import Training


def failed_by_itself(trial: TrialFiles) -> bool:
    """Whether a trial failed by its settings: not where a process or a machine was lost, which says nothing of them.

    So a loss that is no number, too little memory and an error of the code are all worse to a search than any figure.
    """
    return trial.failure not in (None, FailureKind.LOST)


def with_half_the_batch(training: Training) -> Training | None:
    """The same training with half the samples a pass, and so twice the passes a step; None: there is no half."""
    per_device = training.workers.per_device
    if per_device % 2:
        return None
    workers = training.workers.model_copy(update={"per_device_batch_size": per_device // 2})
    return training.model_copy(update={"workers": workers})
