"""What a trial is told by its sweep: plain data that loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainshed.runtime.training.worker_spec import WorkerSpec


@dataclass(frozen=True)
class TrialSpec:
    """What every trial of a sweep is told."""

    worker: WorkerSpec
    """Of the sweep's own training; a trial has its own folder in the sweep's."""
    data: Mapping[str, str]
    """Folders of the data sets that trials may read, by reference."""
    memory_retries: int
    folds: int | None
    """Trainings of a trial, in cross-validation."""
    interval: int | None
    """Of a population, whose members go on from one another's checkpoints: steps between two looks at it."""
    heartbeats: Any
    """The actor that a one-worker trial tells that it lives; see `watchdog`."""
    gpu_share: float
    """Of one GPU, the part that is a trial's own; 0 where it has none, 1 where it has a whole one or more."""
