"""The figures of each task's meter as functions of how often a sample counts, for the bootstrap.

With every weight 1 they are what `runtime/tasks/meters.py` reports, by the same names; a test holds them together. They
are vectorised over resamples: `weights` is `(resamples, samples)`, a figure `(resamples,)`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy import sparse

from trainshed.runtime.evaluation.bootstrap import Statistic

Array = np.ndarray[Any, Any]
MAX_EXPONENT = 700.0


def of_tokens(sums: Array, *, sequences: bool) -> Statistic:
    """loss, perplexity and accuracy per token; `sums` are `(samples, 5)` as a `TokenMeter` keeps them."""

    def statistic(weights: Array) -> dict[str, Array]:
        loss, tokens, right, samples, whole = (weights @ sums).T
        mean = _ratio(loss, tokens)
        found = {
            "loss": mean,
            "perplexity": np.exp(np.minimum(mean, MAX_EXPONENT)),
            "accuracy": _ratio(right, tokens),
        }
        return {**found, "sequence_accuracy": _ratio(whole, samples)} if sequences else found

    return statistic


def of_loss(sums: Array) -> Statistic:
    """loss alone; `sums` are `(samples, 2)`: loss and weight of each."""

    def statistic(weights: Array) -> dict[str, Array]:
        loss, weight = (weights @ sums).T
        return {"loss": _ratio(loss, weight)}

    return statistic


def of_classes(scores: Array, labels: Array) -> Statistic:
    """Figures of single labels; `scores` are probabilities `(samples, classes)`, `labels` `(samples, 1)`."""
    truth = labels[:, 0].astype(int)
    said = scores.argmax(1)
    classes = scores.shape[1]
    right = truth == said
    indicators = (_indicators(truth, classes, right), _indicators(said, classes), _indicators(truth, classes))
    areas = [_area_of(scores[:, name], truth == name) for name in (range(classes) if classes > 2 else (1,))]

    def statistic(weights: Array) -> dict[str, Array]:
        hits, predicted, true = (np.asarray(weights @ one) for one in indicators)
        found = {"accuracy": _ratio(hits.sum(1), weights.sum(1))}
        found |= _macro(hits, predicted, true, present=predicted + true > 0)
        if classes == 2:
            found |= _named("", hits[:, 1], predicted[:, 1], true[:, 1])
        found["roc_auc"] = np.mean([area(weights) for area in areas], axis=0)
        return found

    return statistic


def of_several(scores: Array, labels: Array) -> Statistic:
    """Figures of several labels a sample; `scores` are probabilities, both `(samples, labels)`."""
    said = (scores > 0.5).astype(float)
    whole = (labels == said).all(1)
    areas = [_area_of(scores[:, name], labels[:, name] > 0) for name in range(scores.shape[1])]

    def statistic(weights: Array) -> dict[str, Array]:
        hits = weights @ (said * labels)
        predicted = weights @ said
        true = weights @ labels
        found = {"accuracy": _ratio(weights @ whole, weights.sum(1))}
        found |= _macro(hits, predicted, true, present=np.ones_like(hits, dtype=bool))
        found["micro_f1"] = _share(2 * hits.sum(1), (predicted + true).sum(1))
        found["roc_auc"] = np.mean([area(weights) for area in areas], axis=0)
        return found

    return statistic


def of_numbers(scores: Array, labels: Array) -> Statistic:
    """Figures of a regression: mean squared error, and both correlations."""
    said = scores[:, 0]
    truth = labels[:, 0]

    def statistic(weights: Array) -> dict[str, Array]:
        return {
            "mse": _ratio(weights @ (said - truth) ** 2, weights.sum(1)),
            "pearson": _correlation(
                weights, np.broadcast_to(said, weights.shape), np.broadcast_to(truth, weights.shape)
            ),
            "spearman": _correlation(weights, _ranks(weights, said), _ranks(weights, truth)),
        }

    return statistic


def of_means(columns: dict[str, Array]) -> Statistic:
    """The mean of each column `(samples,)`."""

    def statistic(weights: Array) -> dict[str, Array]:
        total = weights.sum(1)
        return {name: _ratio(weights @ values, total) for name, values in columns.items()}

    return statistic


def _indicators(numbers: Array, classes: int, counts: Array | None = None) -> Any:
    """`(samples, classes)`, sparse: 1 where a sample is of the class; `counts` leaves samples out."""
    ones = np.ones(len(numbers)) if counts is None else counts.astype(float)
    return sparse.csr_array((ones, (np.arange(len(numbers)), numbers)), shape=(len(numbers), classes))


def _macro(hits: Array, predicted: Array, true: Array, *, present: Array) -> dict[str, Array]:
    """Means over classes, of which those count that a resample has: as scikit-learn takes them."""
    each = _named("macro_", hits, predicted, true)
    return {name: _ratio((values * present).sum(1), present.sum(1)) for name, values in each.items()}


def _named(prefix: str, hits: Array, predicted: Array, true: Array) -> dict[str, Array]:
    return {
        f"{prefix}precision": _share(hits, predicted),
        f"{prefix}recall": _share(hits, true),
        f"{prefix}f1": _share(2 * hits, predicted + true),
    }


def _area_of(scores: Array, positive: Array) -> Any:
    return partial(_area, *_tie_groups(scores), positive)


def _area(order: Array, starts: Array, _groups: Array, positive: Array, weights: Array) -> Array:
    """The area under the ROC curve: how often a positive sample has the higher score; ties count half."""
    ordered = weights[:, order]
    right = np.add.reduceat(ordered * positive[order], starts, axis=1)
    wrong = np.add.reduceat(ordered * ~positive[order], starts, axis=1)
    below = wrong.cumsum(1) - wrong
    return _ratio((right * (below + wrong / 2)).sum(1), right.sum(1) * wrong.sum(1))


def _ranks(weights: Array, values: Array) -> Array:
    """The rank of each sample in its resample, `(resamples, samples)`; those that tie share the middle one."""
    order, starts, groups = _tie_groups(values)
    many = np.add.reduceat(weights[:, order], starts, axis=1)
    middle: Array = many.cumsum(1) - many + (many + 1) / 2
    ranks: Array = middle[:, groups]
    return ranks


def _tie_groups(values: Array) -> tuple[Array, Array, Array]:
    """The order of the values, where in it each group of equal ones starts, and the group of each sample."""
    order = np.argsort(values, kind="stable")
    _, starts, groups = np.unique(values[order], return_index=True, return_inverse=True)
    of_sample = np.empty(len(values), dtype=int)
    of_sample[order] = groups
    return order, starts, of_sample


def _correlation(weights: Array, left: Array, right: Array) -> Array:
    """Pearson's, of `(resamples, samples)` each."""
    total = weights.sum(1)
    left = left - _ratio((weights * left).sum(1), total)[:, None]
    right = right - _ratio((weights * right).sum(1), total)[:, None]
    spread = np.sqrt((weights * left**2).sum(1) * (weights * right**2).sum(1))
    return _ratio((weights * left * right).sum(1), spread)


def _share(part: Array, whole: Array) -> Array:
    """A part of a whole; 0 where the whole is empty, as scikit-learn's `zero_division`."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)


def _ratio(part: Array, whole: Array) -> Array:
    """The same, and NaN where the whole is empty."""
    found: Array = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return found
