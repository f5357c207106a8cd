"""What the driver tells each worker: plain data, so that it travels, and costs no import of torch where it is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker is told: the training, where its data lies, where its files go."""

    training: dict[str, Any]
    """A `Training` as JSON."""
    storage: str
    data: str
    """Folder of the prepared data, relative to the storage."""
    folder: str
    """Folder of this training's files, relative to the storage: a run's, or a trial's in it."""
    export: bool
    """Whether the weights are written to `model/` at the end."""
    fold: tuple[int, int] | None = None
    """In cross-validation: which part of the training samples is held out, and of how many."""
    work: Literal["train", "score", "evaluate"] = "train"
    """train: to the last step. score: one pass over all samples, whose figures are written down; nothing is learnt.
    evaluate: the same over held-out samples, with what a meter measures, and answers that the model generates."""
    evaluation: dict[str, Any] = field(default_factory=dict)
    """Of work `evaluate`: an `Asked` as JSON."""
    weights: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What trainings may begin with that others have left, each a `results.Origin` as JSON, by what jobs call it."""
