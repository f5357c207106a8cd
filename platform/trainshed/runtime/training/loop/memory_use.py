"""How much memory this worker needs: its states by kind against the plan's prediction, and its peak."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from trainshed.record.events import MemoryMeasured, Sink
from trainshed.runtime.training.engines import Engine
from trainshed.runtime.training.host import World
from trainshed.spec.plan.layouts import layout_of
from trainshed.spec.plan.model import ModelCost
from trainshed.spec.plan.states import states
from trainshed.spec.training.engines import DeepSpeed, Offload
from trainshed.spec.training.train import Training

KINDS = ("parameters", "gradients", "optimizer")


def peak_megabytes(device: torch.device) -> float:
    """The GPU's peak of allocated memory, else the process's peak resident set; in MB (10^6 bytes)."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


@dataclass(frozen=True)
class StateBytes:
    """Bytes that a worker holds of a model, by what they are; the fields of the plan's `Need` of these names."""

    parameters: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.parameters + self.gradients + self.optimizer


def state_bytes(engine: Engine) -> StateBytes:
    """What an engine holds now: each storage once, under the first kind that has a tensor in it."""
    seen: set[int] = set()
    held = engine.held()
    return StateBytes(*(_new_bytes(tensors, seen) for tensors in (held.parameters, held.gradients, held.optimizer)))


class PlanCheck:
    """Compares the plan's prediction with what is held, once: between passes of the second step of this process.

    By then the optimizer has its states. A step of one pass has nothing between passes: stage 1 has already split its
    gradients, and the prediction says so. With offloading it says nothing: states come and go.
    """

    def __init__(self, training: Training, engine: Engine, world: World, sink: Sink) -> None:
        self._training, self._engine, self._world, self._sink = training, engine, world, sink
        self._steps = 0
        self.facts: dict[str, Any] | None = None
        """Bytes predicted and measured, their ratio, and the peak; None before the comparison."""

    def passed(self, passes: int) -> None:
        """One of so many passes of a step is over."""
        offloads = isinstance(self._training.engine, DeepSpeed) and self._training.engine.offload != Offload()
        if self._steps != 1 or self.facts is not None or offloads:
            return
        measured, predicted = state_bytes(self._engine), self._predicted(passes)
        self.facts = {
            "predicted_bytes": predicted.total,
            "measured_bytes": measured.total,
            "ratio": round(measured.total / predicted.total, 4),
            "measured": {kind: getattr(measured, kind) for kind in KINDS},
            "predicted": {kind: getattr(predicted, kind) for kind in KINDS},
            "peak_mb": peak_megabytes(self._world.device),
        }
        self._sink(MemoryMeasured.model_validate(self.facts))

    def stepped(self) -> None:
        """A step was applied."""
        self._steps += 1

    def _predicted(self, passes: int) -> StateBytes:
        weights = list(self._engine.model.parameters())
        count = sum(map(_numbers, weights))
        trained = sum(_numbers(weight) for weight in weights if weight.requires_grad)
        layout, workers = layout_of(self._training.engine), self._world.workers
        cost = ModelCost(count, trained, tokens=0, vocab_size=0, layers=None)
        need = states(self._training, cost, layout, workers=workers)
        gradients = need.gradients // workers if layout.zero_stage == 1 and passes == 1 else need.gradients
        return StateBytes(need.parameters, gradients, need.optimizer)


def _numbers(weight: torch.Tensor) -> int:
    """Numbers in a whole parameter, of which ZeRO-3 may leave a worker a part."""
    return int(getattr(weight, "ds_numel", weight.numel()))


def _new_bytes(tensors: Iterable[torch.Tensor], seen: set[int]) -> int:
    total = 0
    for tensor in tensors:
        storage = tensor.untyped_storage()
        if storage.nbytes() and storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            total += storage.nbytes()
    return total
