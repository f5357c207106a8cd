"""How much memory this worker needs: its states by kind against the plan's prediction, and its peak."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from trainshed.record.events import MemoryMeasured, Sink
from trainshed.runtime.training.engines import Engine, parameter_count
from trainshed.runtime.training.host import World
from trainshed.spec.plan.model import ModelCost
from trainshed.spec.plan.states import states
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
        """The sum of all parts."""
        return self.parameters + self.gradients + self.optimizer


def state_bytes(engine: Engine) -> StateBytes:
    """What an engine holds now: each storage once, under the first kind that has a tensor in it."""
    seen: set[int] = set()
    held = engine.held()
    return StateBytes(*(_new_bytes(tensors, seen) for tensors in (held.parameters, held.gradients, held.optimizer)))


class PlanCheck:
    """Compares the plan's prediction with what is held, once: between passes of the second step of this process.

    By then the optimizer has its states. A step of one pass has nothing between passes: an engine that splits gradients
    after the last one has done so, and the prediction says it. With offloading it says nothing: states come and go.
    """

    def __init__(self, training: Training, engine: Engine, world: World, sink: Sink) -> None:
        self._training = training
        self._engine = engine
        self._world = world
        self._sink = sink
        self._steps = 0
        self.facts: dict[str, Any] | None = None
        """Bytes predicted and measured, their ratio, and the peak; None before the comparison."""

    def passed(self, passes: int) -> None:
        """One of so many passes of a step is over."""
        if self._steps != 1 or self.facts is not None or self._engine.offloads:
            return
        measured = state_bytes(self._engine)
        predicted = self._predicted(passes)
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
        cost = ModelCost(
            parameters=parameter_count(self._engine),
            trainable=parameter_count(self._engine, trained=True),
            tokens=0,
            vocab_size=0,
            layers=None,
        )
        layout = self._training.engine.layout
        need = states(self._training, cost, layout, workers=self._world.workers, several_passes=passes > 1)
        return StateBytes(need.parameters, need.gradients, need.optimizer)


def _new_bytes(tensors: Iterable[torch.Tensor], seen: set[int]) -> int:
    total = 0
    for tensor in tensors:
        storage = tensor.untyped_storage()
        if storage.nbytes() and storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            total += storage.nbytes()
    return total
