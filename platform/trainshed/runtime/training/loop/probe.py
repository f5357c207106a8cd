"""A small model that all workers train together and each one alone: what an engine does against what it should do.

The model is so small that each worker can take every worker's part of a step by itself, in fp32 and without an engine.
A step's gradient is a sum of parts: of each worker's last pass, and of its passes before. Which parts an engine has
really applied says what is broken; see `probe_cause`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from trainshed.runtime.training.engines import Engine
from trainshed.runtime.training.host import World
from trainshed.spec.training.train import Training

WIDTH = 32
ROWS = 16
CPU = torch.device("cpu")


class SmallModel(torch.nn.Module):
    """Two layers, the first of which a forward pass uses twice."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(WIDTH, WIDTH)
        self.outer = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Shape `(rows, WIDTH)`, as the input's."""
        hidden = torch.tanh(self.inner(torch.tanh(self.inner(input))))
        output: torch.Tensor = self.outer(hidden)
        return output


def small_model() -> torch.nn.Module:
    """The same on every worker."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallModel()


@dataclass(frozen=True)
class Shape:
    """How a step is split."""

    workers: int
    passes: int

    @staticmethod
    def of(training: Training, world: World) -> Shape:
        """The job's own."""
        return Shape(world.workers, training.global_batch_size // (world.workers * training.workers.per_device))


def samples(shape: Shape, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets of a step, each `(workers, passes, ROWS, WIDTH)`; the same on every worker."""
    generator = torch.Generator().manual_seed(1 + step)
    drawn = torch.randn(2, shape.workers, shape.passes, ROWS, WIDTH, generator=generator)
    return drawn[0], drawn[1]


def parts_of_step(model: torch.nn.Module, shape: Shape, step: int, factor: float = 1.0) -> torch.Tensor:
    """The parts whose sum is the gradient: `(workers, 1 or 2, numbers)`, the last pass of a worker last."""
    inputs, targets = samples(shape, step)
    cut = [slice(0, shape.passes - 1), slice(shape.passes - 1, shape.passes)][shape.passes == 1 :]
    weights = list(model.parameters())
    parts = []
    for worker in range(shape.workers):
        for some in cut:
            rows = inputs[worker, some].flatten(0, 1)
            wanted = targets[worker, some].flatten(0, 1)
            share = factor * rows.shape[0] / (ROWS * shape.passes * shape.workers)
            gradients = torch.autograd.grad(F.mse_loss(model(rows), wanted) * share, weights)
            parts.append(torch.cat([gradient.flatten() for gradient in gradients]).double())
    return torch.stack(parts).view(shape.workers, len(cut), -1)


def step_together(engine: Engine, world: World, shape: Shape, *, step: int, rate: float, factor: float = 1.0) -> float:
    """A step of all workers under the engine; the gradient norm that it says."""
    inputs, targets = samples(shape, step)
    for number in range(shape.passes):
        rows, wanted = (each[world.worker, number].to(world.device) for each in (inputs, targets))
        output = engine.forward(input=rows.to(engine.input_dtype))
        engine.backward(F.mse_loss(output.float(), wanted) * factor)
    return engine.step(rate)


def outputs_of(forward: Any, dtype: torch.dtype = torch.float32, device: torch.device = CPU) -> torch.Tensor:
    """What a model makes of a few rows, shape `(ROWS, WIDTH)`; it tells which weights this worker computes with."""
    rows = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        output: torch.Tensor = forward(input=rows.to(dtype))
    return output.double().cpu()


@dataclass(frozen=True)
class Held:
    """What a worker holds of the small model's weights, as the optimizer steps on them: a flat vector's elements."""

    places: torch.Tensor
    """int64 `(held,)`: which elements."""
    values: torch.Tensor
    """float64 `(held,)`."""

    @staticmethod
    def of(engine: Engine, model: torch.nn.Module) -> Held:
        """At this moment."""
        starts = dict(zip((name for name, _ in model.named_parameters()), starts_of(model), strict=True))
        pieces = engine.pieces()
        places = [torch.arange(len(piece)) + starts[piece.name] + piece.start for piece in pieces]
        values = [piece.values.detach().double().cpu() for piece in pieces]
        nothing = torch.zeros(0)
        return Held(torch.cat([nothing.long(), *places]), torch.cat([nothing.double(), *values]))


def starts_of(model: torch.nn.Module) -> list[int]:
    """Where each parameter begins in the flat vector."""
    starts = []
    end = 0
    for weight in model.parameters():
        starts.append(end)
        end += weight.numel()
    return starts


def flat(model: torch.nn.Module) -> torch.Tensor:
    """The weights as one float64 vector."""
    return torch.cat([weight.detach().flatten() for weight in model.parameters()]).double()
