"""Model FLOPs utilisation: what a step's arithmetic would take on a device at its best / what the step took.

Counts 6 FLOP for each parameter and token of forward and backward passes, and 12 x layers x width x time for attention
scores (arXiv 2204.02311, appendix B); what is computed again for activation checkpointing is not counted.
"""

from __future__ import annotations

import torch

from trainshed.runtime.tasks import Batch
from trainshed.runtime.training.engines import Engine, parameter_count
from trainshed.runtime.training.host import World
from trainshed.spec.devices import Precision, gpu_type, peak_flops
from trainshed.spec.plan.layers import layers_of
from trainshed.spec.training.models import Model
from trainshed.spec.training.train import Training

FLOP_PER_PARAMETER = 6
FLOP_PER_SCORE = 12


class Utilisation:
    """Counts this worker's tokens of a step; `mfu` where the device's peak is known."""

    def __init__(self, training: Training, engine: Engine, world: World) -> None:
        self._peak = peak_of(world.device, training.precision)
        self._model = training.model
        self._parameters = parameter_count(engine)
        self._flops = 0.0

    def saw(self, batch: Batch) -> None:
        """One pass was over this batch."""
        tokens = batch.get("input_ids")
        if self._peak is not None and tokens is not None:
            samples, time = tokens.shape
            self._flops += step_flops(self._model, self._parameters, samples=samples, time=time)

    def of_step(self, seconds: float) -> dict[str, float]:
        """The metric of the step that is over, and begins the next."""
        done = self._flops
        self._flops = 0.0
        return {"mfu": round(done / seconds / self._peak, 4)} if self._peak is not None and done else {}


def peak_of(device: torch.device, precision: Precision) -> float | None:
    """FLOP/s of a device at its best; None for CPUs and for GPUs that `spec/devices.py` does not have."""
    kind = gpu_type(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return None if kind is None else peak_flops(kind, precision)


def step_flops(model: Model, parameters: int, *, samples: int, time: int) -> float:
    """FLOP of an optimizer step over `samples` of `time` tokens; without scores where the layers are not in the job."""
    scores = sum(one.count * one.width * one.attentions for one in layers_of(model) or ()) * time
    return float(samples * time) * (FLOP_PER_PARAMETER * parameters + FLOP_PER_SCORE * scores)
