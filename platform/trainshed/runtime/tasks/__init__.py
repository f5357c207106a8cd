"""What is learnt. A task builds its model, gives the loss of a batch, and writes an export that others can open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from trainshed.runtime.tasks.causal_lm import CausalLmTask
from trainshed.spec.train import Training

Forward = Callable[[torch.Tensor], Any]


@dataclass(frozen=True)
class TextFacts:
    """What a task must know of its data: sizes, and the folder of the tokenizer that made it."""

    vocab_size: int
    block_size: int
    tokenizer: Path


class Task(Protocol):
    """What the loop and the export call."""

    def make_model(self) -> torch.nn.Module:
        """A freshly initialised model; the caller has seeded torch."""

    def loss(self, forward: Forward, tokens: torch.Tensor, *, label_smoothing: float) -> torch.Tensor:
        """Mean loss of a batch `(batch, time)` of token ids, in nats per token, a scalar."""

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Writes weights, configuration and tokenizer in Hugging Face's layout."""


def build(training: Training, facts: TextFacts) -> Task:
    """The task that a training names."""
    return CausalLmTask(
        training.model, vocab_size=facts.vocab_size, block_size=facts.block_size, tokenizer=facts.tokenizer
    )
