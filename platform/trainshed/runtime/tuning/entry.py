"""Where Ray Tune enters a trial, and what it is told.

Imports nothing heavy. Ray Tune gives a trial that waits for its own process the process of one that has just ended, and
throws the new one away: were it slow to stand, trials that are short would throw away each other's processes without an
end, and run one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainshed.runtime.training.plan import WorkerPlan


@dataclass(frozen=True)
class TrialPlan:
    """What every trial of a sweep is told."""

    worker: WorkerPlan
    """Of the sweep's own training; a trial has its own folder in the sweep's."""
    memory_retries: int
    folds: int | None
    """Trainings of a trial, in cross-validation."""
    interval: int | None
    """Of a population, whose members go on from one another's checkpoints: steps between two looks at it."""
    beats: Any
    """The actor that a one-worker trial tells that it lives; see `alive`."""
    gpu_share: float
    """Of one GPU, the part that is a trial's own; 0 where it has none, 1 where it has a whole one or more."""


def run_trial(config: dict[str, Any], *, plan: TrialPlan) -> None:
    """`config` holds the trial's `settings` by dotted path."""
    from trainshed.runtime.tuning.trial import train_trial  # torch, transformers: the process stands before they do

    train_trial(config, plan)
