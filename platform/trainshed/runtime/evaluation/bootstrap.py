"""Percentile intervals of the bootstrap (Efron 1979): samples are drawn with replacement, and every figure made again.

A statistic takes how often each sample was drawn, `(resamples, samples)`, and gives its figures, `(resamples,)` each:
all figures, and both models of a comparison, are of the same draws. Knows numpy; knows no task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from trainshed.spec.evaluation.evaluate import Intervals

Array = np.ndarray[Any, Any]
Statistic = Callable[[Array], Mapping[str, Array]]
"""From weights `(resamples, samples)` to figures `(resamples,)` by their names."""

DRAWN_AT_ONCE = 4_000_000
"""Weights that are held at a time: 32 MB, however many samples and resamples there are."""


def once(statistic: Statistic, samples: int) -> dict[str, float]:
    """The figures of the samples as they are, each drawn once."""
    return {name: float(values[0]) for name, values in statistic(np.ones((1, samples))).items()}


def resampled(statistic: Statistic, samples: int, spec: Intervals) -> dict[str, Array]:
    """Every figure of every resample, `(resamples,)`; NaN where a resample has none, as an area of one class alone."""
    parts: dict[str, list[Array]] = {}
    for weights in _draws(samples, spec):
        for name, values in statistic(weights).items():
            parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def interval(values: Array, spec: Intervals) -> tuple[float, float] | None:
    """The middle `confidence` of a figure's resamples; None where under half of them have one."""
    there = values[np.isfinite(values)]
    if 2 * len(there) < len(values):
        return None
    outside = (1.0 - spec.confidence) / 2.0
    low, high = np.quantile(there, [outside, 1.0 - outside])
    return float(low), float(high)


def _draws(samples: int, spec: Intervals) -> Iterator[Array]:
    """How often each sample was drawn, `(some resamples, samples)` at a time; a function of the seed alone."""
    generator = np.random.default_rng(spec.seed)
    at_once = max(1, DRAWN_AT_ONCE // samples)
    for start in range(0, spec.resamples, at_once):
        resamples = min(at_once, spec.resamples - start)
        drawn = generator.integers(0, samples, size=(resamples, samples))
        drawn += np.arange(resamples)[:, None] * samples
        counts = np.bincount(drawn.ravel(), minlength=resamples * samples)
        yield counts.reshape(resamples, samples).astype(np.float64)
