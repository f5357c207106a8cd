"""How weights move: the engines behind one protocol, and which one a training gets."""

from __future__ import annotations

from typing import assert_never

import torch

from trainshed.runtime.training.engines.engine import (
    HALF,
    Engine,
    Held,
    MakeInParts,
    MakeModel,
    MakeOptimizer,
    parameter_count,
)
from trainshed.spec.training.engines import Ddp, DeepSpeed, Fsdp
from trainshed.spec.training.train import Training

__all__ = ["HALF", "Engine", "Held", "MakeInParts", "MakeModel", "MakeOptimizer", "build", "parameter_count"]


def build(
    training: Training,
    make_model: MakeModel,
    make_optimizer: MakeOptimizer,
    device: torch.device,
    *,
    make_in_parts: MakeInParts | None = None,
) -> Engine:
    """The engine that a training names. An engine's libraries are loaded only where it is used.

    `make_in_parts` is for an engine that splits parameters: no worker then holds the whole model, not even at first.
    """
    match training.engine:
        case DeepSpeed():
            from trainshed.runtime.training.engines.deepspeed import DeepSpeedEngine

            return DeepSpeedEngine(training, make_model, make_optimizer, device, make_in_parts=make_in_parts)
        case Ddp():
            from trainshed.runtime.training.engines.ddp import DdpEngine

            return DdpEngine(training, make_model, make_optimizer, device, make_in_parts=make_in_parts)
        case Fsdp():
            from trainshed.runtime.training.engines.fsdp import FsdpEngine

            return FsdpEngine(training, make_model, make_optimizer, device, make_in_parts=make_in_parts)
        case _:
            assert_never(training.engine)
