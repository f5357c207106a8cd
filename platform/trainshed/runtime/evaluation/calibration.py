"""How far a classifier's confidence is from how often it is right (arXiv 1706.04599)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from trainshed.runtime.evaluation.bootstrap import Statistic

Array = np.ndarray[Any, Any]
BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Samples by the confidence of their label, in bins of equal width; an empty bin is left out."""

    confidence: Array
    """The mean confidence of each bin."""
    accuracy: Array
    """The share of each bin that is right."""
    samples: Array
    error: float
    """The expected calibration error: the mean distance of the two, by samples."""


def reliability(scores: Array, labels: Array, *, bins: int = BINS) -> Reliability:
    """Of probabilities `(samples, classes)` and classes `(samples, 1)`."""
    sure, right, numbers = _binned(scores, labels, bins)
    samples = np.bincount(numbers, minlength=bins)
    there = samples > 0
    confidence = np.bincount(numbers, weights=sure, minlength=bins)[there] / samples[there]
    accuracy = np.bincount(numbers, weights=right, minlength=bins)[there] / samples[there]
    error = float((samples[there] * np.abs(confidence - accuracy)).sum() / samples.sum())
    return Reliability(confidence, accuracy, samples[there], error)


def of_calibration(scores: Array, labels: Array, *, bins: int = BINS) -> Statistic:
    """calibration_error for the bootstrap: bins keep their edges, and what is in them is drawn again."""
    sure, right, numbers = _binned(scores, labels, bins)
    apart = np.zeros((len(sure), bins))
    apart[np.arange(len(sure)), numbers] = sure - right

    def statistic(weights: Array) -> dict[str, Array]:
        error: Array = np.abs(weights @ apart).sum(1) / weights.sum(1)
        return {"calibration_error": error}

    return statistic


def _binned(scores: Array, labels: Array, bins: int) -> tuple[Array, Array, Array]:
    """Each sample's confidence, whether its label is right, and the number of its bin."""
    sure = scores.max(1)
    right = (scores.argmax(1) == labels[:, 0]).astype(np.float64)
    numbers = np.minimum((sure * bins).astype(int), bins - 1)
    return sure, right, numbers
