"""One step of the small model under an engine against the same step alone: what it changed, relative to the change.

Measured on what this worker holds, as the optimizer steps on it: fp32 also where the model computes in less.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from trainshed.runtime.training.engines import Engine
from trainshed.runtime.training.host import World
from trainshed.runtime.training.loop.probe import (
    Held,
    Shape,
    flat,
    outputs_of,
    parts_of_step,
    starts_of,
    step_together,
)
from trainshed.runtime.training.loop.probe_cause import Applied, applied, together
from trainshed.runtime.training.loop.validation import evaluating
from trainshed.spec.training.train import Training

ULP = 2.0**-23
UNMOVED = 0.05
TINY = 1e-30


@dataclass(frozen=True)
class Found:
    """What one worker sees of one step of plain gradient descent."""

    off: float
    """Of the gradient that was applied to what this worker holds, relative."""
    norm: float
    """The norm that the engine says, by what it is."""
    outputs: float
    """Of what the worker then computes, by how much that changes."""
    stale: bool
    """It still computes what it did before."""
    cause: str | None
    only: tuple[int, ...] | None
    """See `probe_cause.Applied`."""

    def is_wrong(self, tolerance: float) -> bool:
        """Whether rounding does not explain it; nothing explains NaN."""
        return not (self.off <= tolerance and abs(self.norm - 1) <= tolerance and self.outputs <= 2 * tolerance)


def gradient_of_step(
    engine: Engine, training: Training, world: World, shape: Shape, model: torch.nn.Module, *, step: int
) -> Found:
    """A step of gradient descent of all workers, and of `model` alone."""
    rate = training.optimizer.learning_rate
    parts = parts_of_step(model, shape, step)
    right = parts.sum(dim=(0, 1))
    before = Held.of(engine, model)
    said_before = outputs_of(model)
    norm = step_together(engine, world, shape, step=step, rate=rate)
    gradient = (before.values - Held.of(engine, model).values) / rate
    _set(model, flat(model) - rate * right)
    with evaluating(engine):
        says = outputs_of(engine.forward, engine.input_dtype, world.device)
        wanted = outputs_of(model)
    masks = [(name, mask) for name, mask, _ in layers(before.places, model)]
    cause = applied(gradient, parts[:, :, before.places], masks)
    changes = float((wanted - said_before).norm())
    return Found(
        off=worst(gradient, right, before.places, model),
        norm=norm / float(right.norm()),
        outputs=float((says - wanted).norm()) / changes,
        stale=float((says - said_before).norm()) <= UNMOVED * changes,
        cause=cause.cause,
        only=cause.only,
    )


def cause_of(each: list[dict[str, Any] | None], tolerance: float) -> str:
    """What is broken, from what each worker has found; None of one that has found nothing."""
    wrong = {worker: Found(**one) for worker, one in enumerate(each) if one is not None}
    stale = [worker for worker, one in wrong.items() if one.stale]
    if stale and len(stale) < len(each):
        which = ", ".join(map(str, stale))
        return f"worker {which} goes on with the weights from before the step"
    odd = [one for one in wrong.values() if not one.off <= tolerance]
    if odd:
        return together([Applied(one.cause, tuple(one.only) if one.only is not None else None) for one in odd])
    norms = [one.norm for one in wrong.values() if not abs(one.norm - 1) <= tolerance]
    if norms:
        return f"the norm of the gradient is {norms[0]:.3g} times what it should be"
    return "what workers compute with are not the weights that the step has left: some are from before it"


def change_of_step(
    engine: Engine,
    training: Training,
    world: World,
    shape: Shape,
    alone: tuple[torch.nn.Module, torch.optim.Optimizer],
    *,
    step: int,
    factor: float,
) -> tuple[float, float]:
    """A step of the job's optimizer; how far the change is off, relative, and the engine's norm by what it is."""
    model, optimizer = alone
    rate = training.optimizer.learning_rate
    before = Held.of(engine, model)
    weights = flat(model)
    right = parts_of_step(model, shape, step, factor).sum(dim=(0, 1))
    norm = step_together(engine, world, shape, step=step, rate=rate, factor=factor)
    change = Held.of(engine, model).values - before.values
    for weight, start in zip(model.parameters(), starts_of(model), strict=True):
        weight.grad = right[start : start + weight.numel()].view_as(weight).to(weight.dtype)
    torch.nn.utils.clip_grad_norm_(model.parameters(), training.regularization.max_grad_norm or float("inf"))
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
    optimizer.step()
    return worst(change, flat(model) - weights, before.places, model, weights), norm / float(right.norm())


def layers(places: torch.Tensor, model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor, slice]]:
    """Each parameter: its name, which of the held elements are its own, and where it is in the flat vector."""
    for (name, weight), start in zip(model.named_parameters(), starts_of(model), strict=True):
        end = start + weight.numel()
        yield name, (places >= start) & (places < end), slice(start, end)


def worst(
    found: torch.Tensor,
    right: torch.Tensor,
    places: torch.Tensor,
    model: torch.nn.Module,
    weights: torch.Tensor | None = None,
) -> float:
    """The largest relative difference over the parameters; what fp32 `weights` cannot hold of a change is let be."""
    largest = 0.0
    for _, mask, whole in layers(places, model):
        held = int(mask.sum())
        if held:
            scale = (held / (whole.stop - whole.start)) ** 0.5
            difference = float((found[mask] - right[places[mask]]).norm())
            if not math.isfinite(difference):
                return math.inf
            lost = ULP * float(weights[whole].norm()) * scale if weights is not None else 0.0
            largest = max(largest, (difference - lost) / (float(right[whole].norm()) * scale + TINY))
    return largest


@torch.no_grad()
def _set(model: torch.nn.Module, vector: torch.Tensor) -> None:
    for weight, start in zip(model.parameters(), starts_of(model), strict=True):
        weight.copy_(vector[start : start + weight.numel()].view_as(weight))
