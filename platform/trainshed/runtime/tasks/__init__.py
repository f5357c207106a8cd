"""What is learnt. A task builds its model, gives the loss of a batch, and writes an export that others can open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from trainshed.runtime.tasks.causal_lm import CausalLmTask
from trainshed.spec.train import Training

Batch = dict[str, torch.Tensor]
"""Tensors by the name that the model's `forward` gives them; the first dimension of each is the samples."""

Forward = Callable[..., Any]
"""The model under its engine, called with a batch's tensors by name."""


class Samples(Protocol):
    """The prepared samples of one split."""

    def __len__(self) -> int: ...

    def take(self, ids: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Columns of the samples with these numbers; each has `len(ids)` rows (an array, or a list of arrays)."""


@dataclass(frozen=True)
class TextFacts:
    """What a task must know of its data: sizes, and the folder of the tokenizer that made it."""

    vocab_size: int
    block_size: int
    tokenizer: Path


class Task(Protocol):
    """What the loop and the export call."""

    unit: str
    """What the loss is a mean over: token, sample."""

    def make_model(self) -> torch.nn.Module:
        """A freshly initialised model; the caller has seeded torch."""

    def batch(self, rows: dict[str, Any], *, keys: list[tuple[int, ...]]) -> Batch:
        """Samples as the model takes them. `keys[row]` seeds what is drawn for that sample, on any worker alike."""

    def weight(self, batch: Batch) -> float:
        """How many units the loss of this batch is a sum over; known before the forward pass."""

    def loss(self, forward: Forward, batch: Batch, *, label_smoothing: float) -> torch.Tensor:
        """The loss summed over the batch's units, a scalar; in nats where it is a cross-entropy."""

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Writes weights, configuration and tokenizer in Hugging Face's layout."""


def build(training: Training, facts: TextFacts) -> Task:
    """The task that a training names."""
    return CausalLmTask(
        training.model, vocab_size=facts.vocab_size, block_size=facts.block_size, tokenizer=facts.tokenizer
    )
