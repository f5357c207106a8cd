"""Held-out metrics in running sums and short rows: nothing here keeps logits over a vocabulary.

Classifiers' figures are scikit-learn's over every sample's scores; language models' are sums over tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from trainshed.runtime.modalities.text.collation import IGNORED
from trainshed.runtime.tasks.protocol import Batch, Forward, Rows
from trainshed.runtime.tasks.tokens import TokenSums

Array = np.ndarray[Any, Any]
MAX_EXPONENT = 700.0


class TokenMeter:
    """Loss, perplexity and accuracy over tokens; whole sequences too where `sequences` is on."""

    def __init__(self, measure: Callable[[Forward, Batch], TokenSums], *, sequences: bool) -> None:
        """`measure` says what a model comes to over a batch."""
        self._measure = measure
        self._sequences = sequences
        self.sums = torch.zeros(5, dtype=torch.float64)
        self.rows: Rows = []

    def add(self, forward: Forward, batch: Batch) -> None:
        """Adds the sums of the batch."""
        self.sums += self.each(forward, batch)["sums"].sum(0)

    def each(self, forward: Forward, batch: Batch) -> dict[str, torch.Tensor]:
        """sums `(samples, 5)`: loss, tokens, tokens right, 1, and whether every token is right."""
        found = self._measure(forward, batch)
        counted = found.targets != IGNORED
        right = found.right & counted
        whole = (right == counted).all(dim=1)
        columns = [found.losses, counted.sum(1), right.sum(1), torch.ones(len(counted)), whole]
        return {"sums": torch.stack([column.detach().double().cpu() for column in columns], dim=1)}

    def metrics(self) -> dict[str, float]:
        """loss, perplexity, accuracy; sequence_accuracy (each token given the right ones before it)."""
        loss, tokens, right, samples, whole = self.sums.tolist()
        mean = loss / tokens
        said = {"loss": mean, "perplexity": math.exp(min(mean, MAX_EXPONENT)), "accuracy": right / tokens}
        return {**said, "sequence_accuracy": whole / samples} if self._sequences else said


class MeanMeter:
    """Means over samples, each of which has a figure of every name."""

    def __init__(self, measure: Callable[[Forward, Batch], Mapping[str, torch.Tensor]], names: tuple[str, ...]) -> None:
        """`measure` gives figures `(samples,)` by name."""
        self._measure = measure
        self._names = names
        self.sums = torch.zeros(1 + len(names), dtype=torch.float64)
        self.rows: Rows = []

    def add(self, forward: Forward, batch: Batch) -> None:
        """Adds the samples, and each figure's sum."""
        figures = self.each(forward, batch)["figures"]
        self.sums += torch.cat([torch.tensor([len(figures)]), figures.sum(0)])

    def each(self, forward: Forward, batch: Batch) -> dict[str, torch.Tensor]:
        """figures `(samples, names)`."""
        found = self._measure(forward, batch)
        return {"figures": torch.stack([found[name].detach().double().cpu() for name in self._names], dim=1)}

    def metrics(self) -> dict[str, float]:
        """The mean of each."""
        samples, *sums = self.sums.tolist()
        return {name: value / samples for name, value in zip(self._names, sums, strict=True)}


class LabelMeter:
    """Keeps every sample's scores and label: a few numbers each."""

    def __init__(
        self,
        measure: Callable[[Forward, Batch], tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
        figures: Callable[[Array, Array], dict[str, float]],
        weights: Callable[[Batch], torch.Tensor],
        *,
        scores: int,
    ) -> None:
        """`measure` gives losses `(batch,)`, scores `(batch, scores)` and labels `(batch,)` or `(batch, labels)`."""
        self._measure = measure
        self._figures = figures
        self._weights = weights
        self._scores = scores
        self.sums = torch.zeros(2, dtype=torch.float64)
        self.rows: Rows = []

    def add(self, forward: Forward, batch: Batch) -> None:
        """Adds a row of scores and labels for each sample."""
        found = self.each(forward, batch)
        self.sums += found["sums"].sum(0)
        self.rows.append(torch.cat([found["scores"], found["labels"]], dim=1).numpy())

    def each(self, forward: Forward, batch: Batch) -> dict[str, torch.Tensor]:
        """sums `(samples, 2)`: loss and weight; scores `(samples, scores)`, labels `(samples, labels)`."""
        losses, scores, labels = self._measure(forward, batch)
        sums = [losses.detach().double().cpu(), self._weights(batch).double().cpu()]
        return {
            "sums": torch.stack(sums, dim=1),
            "scores": scores.detach().double().cpu(),
            "labels": labels.reshape(len(labels), -1).double().cpu(),
        }

    def metrics(self) -> dict[str, float]:
        """loss, and the figures of the problem."""
        loss, weight = self.sums.tolist()
        rows = np.concatenate(self.rows)
        return {"loss": loss / weight, **self._figures(rows[:, : self._scores], rows[:, self._scores :])}


def class_figures(scores: Array, labels: Array) -> dict[str, float]:
    """Figures of single-label classification; `scores` are probabilities `(samples, classes)`, `labels` `(samples, 1)`.

    With two classes precision, recall and f1 are those of the second; roc_auc is left out where a class is missing.
    """
    from sklearn import metrics

    truth = labels[:, 0].astype(int)
    said = scores.argmax(1)
    classes = scores.shape[1]
    macro = metrics.precision_recall_fscore_support(truth, said, average="macro", zero_division=0.0)[:3]
    found = {"accuracy": float((truth == said).mean()), **_named("macro_", macro)}
    if classes == 2:
        found |= _named(
            "", metrics.precision_recall_fscore_support(truth, said, average="binary", zero_division=0.0)[:3]
        )
    if len(np.unique(truth)) == classes:
        by = {"y_score": scores[:, 1]} if classes == 2 else {"y_score": scores, "multi_class": "ovr"}
        found["roc_auc"] = float(metrics.roc_auc_score(truth, **by))
    return found


def several_figures(scores: Array, labels: Array) -> dict[str, float]:
    """Figures of multi-label classification; `scores` are probabilities, both `(samples, labels)`.

    accuracy: samples with every label right. roc_auc is left out where a label never, or always, stands.
    """
    from sklearn import metrics

    said = (scores > 0.5).astype(int)
    macro = metrics.precision_recall_fscore_support(labels, said, average="macro", zero_division=0.0)[:3]
    found = {"accuracy": float((labels == said).all(1).mean()), **_named("macro_", macro)}
    found["micro_f1"] = float(metrics.f1_score(labels, said, average="micro", zero_division=0.0))
    shares = labels.mean(0)
    if ((shares > 0) & (shares < 1)).all():
        found["roc_auc"] = float(metrics.roc_auc_score(labels, scores, average="macro"))
    return found


def number_figures(scores: Array, labels: Array) -> dict[str, float]:
    """Figures of a regression: mean squared error and correlations; these are left out where one side is constant."""
    from scipy import stats

    said = scores[:, 0]
    truth = labels[:, 0]
    found = {"mse": float(((said - truth) ** 2).mean())}
    if len(truth) > 1 and np.ptp(said) > 0 and np.ptp(truth) > 0:
        found["pearson"] = float(stats.pearsonr(said, truth).statistic)
        found["spearman"] = float(stats.spearmanr(said, truth).statistic)
    return found


def _named(prefix: str, three: Any) -> dict[str, float]:
    return {f"{prefix}{name}": float(value) for name, value in zip(("precision", "recall", "f1"), three, strict=True)}
