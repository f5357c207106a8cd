"""A task of one's own: promise a delivery time that nine parcels of ten keep. Knows torch and Trainshed's tasks.

The model, its inputs and its export are those of the built-in text classification; the loss and the metrics are ours.
"""

import torch

from trainshed.runtime.tasks import Batch, DataFacts, Forward, Meter
from trainshed.runtime.tasks.classification import ClassificationTask
from trainshed.spec.training.tasks import TextClassification
from trainshed.spec.training.train import Training


class Promise(ClassificationTask):
    """Predicts the quantile `settings.quantile` of a number instead of its mean (Koenker and Bassett 1978)."""

    def __init__(self, training: Training, facts: DataFacts) -> None:
        super().__init__(training, TextClassification(problem="regression"), facts)
        self.quantile = float(training.task.settings["quantile"])

    def loss(self, forward: Forward, batch: Batch, *, label_smoothing: float) -> torch.Tensor:  # noqa: ARG002
        """The pinball loss, summed over the samples: too short a promise costs 9 times what too long a one does."""
        missing = batch["labels"] - promised(forward, batch)
        return torch.maximum(self.quantile * missing, (self.quantile - 1) * missing).sum()

    def meter(self) -> Meter:
        """An empty meter for held-out samples."""
        return PromiseMeter(self)


class PromiseMeter:
    """loss; `kept`, the share of promises kept; `cost` a parcel: 5 a day promised too much, 20 a broken promise."""

    def __init__(self, task: Promise) -> None:
        self.task = task
        self.sums = torch.zeros(4, dtype=torch.float64)  # workers' sums are added
        self.rows = []

    def add(self, forward: Forward, batch: Batch) -> None:
        """Adds a batch of held-out samples."""
        spare = promised(forward, batch) - batch["labels"]
        loss = self.task.loss(forward, batch, label_smoothing=0.0)
        kept = spare >= 0
        self.sums += torch.stack([loss, torch.tensor(len(spare)), kept.sum(), spare[kept].sum()]).double().cpu()

    def metrics(self) -> dict[str, float]:
        """The figures of everything that was added."""
        loss, samples, kept, spare = self.sums.tolist()
        cost = 5 * spare + 20 * (samples - kept)
        return {"loss": loss / samples, "kept": kept / samples, "cost": cost / samples}


def promised(forward: Forward, batch: Batch) -> torch.Tensor:
    """The promise for each sample, in days `(batch,)`."""
    return forward(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float().squeeze(-1)
