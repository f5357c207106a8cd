"""What a label is: its tensor, its loss, its figures. Shared by every task that labels samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.meters import LabelMeter, class_figures, number_figures, several_figures
from trainshed.runtime.tasks.protocol import Batch, Forward
from trainshed.spec.training.tasks import ClassWeights

Problem = Literal["single_label", "multi_label", "regression"]


class Labels:
    """The labels of a data set under one kind of problem."""

    def __init__(self, problem: Problem, facts: DataFacts, class_weights: ClassWeights | None) -> None:
        self._problem = problem
        self._names = facts.labels
        self._weights = _weights(class_weights, facts)

    @property
    def scores(self) -> int:
        """Outputs of the model."""
        return 1 if self._problem == "regression" else len(self._names)

    def tensor(self, labels: np.ndarray[Any, Any]) -> torch.Tensor:
        """int64 `(samples,)` for one class; float32 `(samples, labels)` for several, `(samples,)` for numbers."""
        return torch.from_numpy(labels).long() if self._problem == "single_label" else torch.from_numpy(labels).float()

    def weight(self, batch: Batch) -> float:
        """Samples, each counted with its class's weight where there are weights; known without the model."""
        return float(self.weights(batch).sum())

    def weights(self, batch: Batch) -> torch.Tensor:
        """The same of each sample, float32 `(samples,)`."""
        labels = batch["labels"]
        one = torch.ones(len(labels), device=labels.device)
        if self._problem == "regression":
            return one
        if self._problem == "single_label":
            return one if self._weights is None else self._weights.to(labels.device)[labels]
        return one * (len(self._names) if self._weights is None else self._weights.sum())

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, *, label_smoothing: float) -> torch.Tensor:
        """Cross-entropy, binary cross-entropy or squared error, weighted and summed."""
        return self.losses(logits, labels, label_smoothing=label_smoothing).sum()

    def losses(self, logits: torch.Tensor, labels: torch.Tensor, *, label_smoothing: float) -> torch.Tensor:
        """The same of each sample, `(samples,)`."""
        logits = logits.float()
        weights = None if self._weights is None else self._weights.to(logits.device)
        match self._problem:
            case "single_label":
                return F.cross_entropy(logits, labels, weights, label_smoothing=label_smoothing, reduction="none")
            case "multi_label":
                softened = labels * (1.0 - label_smoothing) + 0.5 * label_smoothing
                return F.binary_cross_entropy_with_logits(logits, softened, weights, reduction="none").sum(1)
            case "regression":
                return F.mse_loss(logits.squeeze(-1), labels, reduction="none")

    def meter(self, logits_of: Callable[[Forward, Batch], torch.Tensor]) -> LabelMeter:
        """Loss and the problem's figures over every sample."""

        def measure(forward: Forward, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            logits = logits_of(forward, batch)
            losses = self.losses(logits, batch["labels"], label_smoothing=0.0)
            return losses, self.probabilities(logits), batch["labels"]

        figures = {"single_label": class_figures, "multi_label": several_figures, "regression": number_figures}
        return LabelMeter(measure, figures[self._problem], self.weights, scores=self.scores)

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """The probability of each class or label; a regression's numbers as they are."""
        logits = logits.float()
        if self._problem == "single_label":
            return logits.softmax(-1)
        return logits.sigmoid() if self._problem == "multi_label" else logits

    def answers(self, logits: torch.Tensor) -> list[dict[str, Any]]:
        """What a sample is told: label and scores, labels and scores, or a value."""
        told: list[dict[str, Any]] = []
        for row in self.probabilities(logits).tolist():
            scores = dict(zip(self._names, row, strict=False))
            match self._problem:
                case "single_label":
                    told.append({"label": max(scores, key=scores.__getitem__), "scores": scores})
                case "multi_label":
                    told.append({"labels": [name for name, score in scores.items() if score > 0.5], "scores": scores})
                case "regression":
                    told.append({"value": row[0]})
        return told


def _weights(spec: ClassWeights | None, facts: DataFacts) -> torch.Tensor | None:
    """float32 `(classes,)`; balanced is samples / (classes x samples of the class), as scikit-learn has it."""
    if spec is None:
        return None
    if spec == "balanced":
        counts = torch.tensor(facts.label_counts, dtype=torch.float32).clamp(min=1)
        return counts.sum() / (len(counts) * counts)
    return torch.tensor(spec, dtype=torch.float32)
