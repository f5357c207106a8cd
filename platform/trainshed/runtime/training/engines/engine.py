"""How weights move. An engine wraps a model and an optimizer; the loop calls nothing else of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from trainshed.errors import PlatformError
from trainshed.runtime.tasks.making import PartHandler
from trainshed.runtime.training.engines.pieces import Piece, State

MakeModel = Callable[[], torch.nn.Module]
MakeInParts = Callable[[PartHandler], torch.nn.Module]
"""As MakeModel; hands each part to `place` when its weights are there, so that it can be split before the next."""
MakeOptimizer = Callable[[torch.nn.Module], torch.optim.Optimizer]


@dataclass(frozen=True)
class Held:
    """The tensors that an engine keeps on this worker, by what they are; one may stand there twice."""

    parameters: list[torch.Tensor]
    gradients: list[torch.Tensor]
    optimizer: list[torch.Tensor]
    """Moments, and master weights."""


class Engine(Protocol):
    """What the loop calls. Every worker makes the same calls in the same order."""

    model: torch.nn.Module
    """The bare model, as the task made it."""
    optimizer: torch.optim.Optimizer
    """torch's optimizer, as it was made; under ZeRO it steps on flat partitions."""

    @property
    def state(self) -> State:
        """The optimizer's own memory, by the tensors that it steps on."""

    def forward(self, **batch: torch.Tensor) -> Any:
        """The model's output for a batch's tensors by name."""

    def backward(self, loss: torch.Tensor) -> None:
        """Adds one pass's gradients; a step applies their mean over its passes and over the workers."""

    def step(self, learning_rate: float) -> float:
        """Clips and applies what the passes of this step have added; the global gradient norm before clipping."""

    def train(self, *, on: bool) -> None:
        """Dropout and all that is for training alone, on or off; a new engine has it on, however its model came."""

    def pieces(self) -> list[Piece]:
        """What this worker holds of the trainable parameters, as the optimizer steps on them."""

    def held(self) -> Held:
        """The tensors of model and optimizer that this worker holds at this moment."""

    def buffers(self) -> dict[str, torch.Tensor]:
        """The model's state that is no parameter, such as running means; the same on every worker."""

    def counters(self) -> dict[str, float]:
        """Single numbers of the engine that a checkpoint must hold, such as the loss scale."""

    def set_counters(self, counters: dict[str, float]) -> None:
        """Puts back what `counters` gave."""

    def refresh(self) -> None:
        """The working weights from the pieces, after something has written to them."""

    def export(self) -> dict[str, torch.Tensor] | None:
        """The whole model's weights on the CPU, on worker 0; None on the others."""


def save_activations(model: torch.nn.Module) -> None:
    """Has each layer compute its activations again in the backward pass (arXiv 1604.06174).

    Raises:
        PlatformError: the model does not know how.
    """
    enable = getattr(model, "gradient_checkpointing_enable", None)
    if enable is None:
        name = type(model).__name__
        raise PlatformError(f"engine.activation_checkpointing: {name} has no layers that can do it; leave it out")
    enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def tensors_of(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """What a torch optimizer steps on and what it remembers."""
    steps_on = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    remembers = [value for state in optimizer.state.values() for value in state.values()]
    return [tensor for tensor in (*steps_on, *remembers) if isinstance(tensor, torch.Tensor)]
