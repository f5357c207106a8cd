"""How weights move. An engine wraps a model and an optimizer; the loop calls nothing else of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from trainshed.spec.train import Training


class Engine(Protocol):
    """What the loop calls. Every worker makes the same calls in the same order."""

    def forward(self, **batch: torch.Tensor) -> Any:
        """The model's output for a batch's tensors by name."""

    def backward(self, loss: torch.Tensor) -> None:
        """Adds one pass's gradients; a step applies their mean over its passes and over the workers."""

    def step(self, learning_rate: float) -> float:
        """Clips and applies what the passes of this step have added; the global gradient norm before clipping."""

    def refresh(self) -> None:
        """The model's weights from those that the optimizer steps on, after something else has changed them."""

    def train(self, *, on: bool) -> None:
        """Dropout on or off."""

    def save(self, folder: Path) -> None:
        """Writes this worker's part of the training state."""

    def load(self, folder: Path) -> None:
        """Reads what `save` of as many workers wrote."""

    def export(self) -> dict[str, torch.Tensor] | None:
        """The whole model's weights on the CPU, on worker 0; None on the others."""


def build(
    training: Training,
    make_model: Callable[[], torch.nn.Module],
    make_optimizer: Callable[[torch.nn.Module], Any],
    device: torch.device,
) -> Engine:
    """The engine that a training names."""
    from trainshed.runtime.training.engines.deepspeed import DeepSpeedEngine  # heavy: only where something is trained

    return DeepSpeedEngine(training, make_model, make_optimizer, device)
