"""How weights move. An engine wraps a model and an optimizer; the loop calls nothing else of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from trainshed.errors import PlatformError
from trainshed.runtime.tasks.making import PartHandler
from trainshed.runtime.tasks.weight_roles import ShapeOf
from trainshed.runtime.training.engines.pieces import Piece, State
from trainshed.spec.training.train import Training

MakeModel = Callable[[], torch.nn.Module]
MakeInParts = Callable[[PartHandler, torch.dtype], torch.nn.Module]
"""As MakeModel; hands each part to `place` when its weights are there, so that it can be split before the next. The
type is what parts are cast to when they are placed: existing weights may have it from the first."""
MakeOptimizer = Callable[[torch.nn.Module, ShapeOf], torch.optim.Optimizer]
"""Of a model's parameters, some of which may be split already: their whole shapes are the engine's to say."""

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""The type of numbers that forward and backward passes are done in; fp32 where the precision is not here."""


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
    """torch's optimizer, as it was made; an engine that splits weights lets it step on this worker's parts."""
    splits_weights: bool
    """Whether each worker holds a part of the weights that it computes with, and no two the same."""
    offloads: bool
    """Whether states come and go between the device and other memory."""
    input_dtype: torch.dtype
    """What floating-point tensors of a batch must be."""

    def shape_of(self, parameter: torch.Tensor) -> torch.Size:
        """The shape of one of the model's parameters as a whole, of which this worker may hold a part."""

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
        """The whole model's weights on the CPU, on worker 0; None on the others.

        What is trained is in fp32, whatever a pass computes in; frozen weights are as this engine holds them.
        """


def parameter_count(engine: Engine, *, trained: bool = False) -> int:
    """Numbers in the whole model, or in what of it is trained, wherever they are held."""
    weights = engine.model.parameters()
    return sum(engine.shape_of(weight).numel() for weight in weights if weight.requires_grad or not trained)


def passes_of_step(training: Training, workers: int) -> int:
    """Backward passes of each worker in an optimizer step."""
    of_samples = training.global_batch_size // (workers * training.workers.per_device)
    return of_samples * training.regularization.passes


def persistent_buffers(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The buffers that `state_dict` would hold; asked itself, it would have layers of 4 bits pack theirs."""
    transient = {
        f"{prefix}.{name}".lstrip(".")
        for prefix, module in model.named_modules()
        for name in module._non_persistent_buffers_set
    }
    return {name: buffer for name, buffer in model.named_buffers() if name not in transient}


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
