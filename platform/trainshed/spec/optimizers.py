"""Optimizers a training may name. Their arithmetic is torch's; see `runtime/training/optimizers.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainshed.spec.part import NonNegative, Part, Positive

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class AdamW(Part):
    """Adam with decoupled weight decay (arXiv 1711.05101). Norms and biases are not decayed."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: Positive
    """The peak; the schedule multiplies it."""
    weight_decay: NonNegative = 0.01
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    epsilon: Positive = 1e-8


Optimizer = AdamW


def moments(optimizer: Optimizer) -> int:  # noqa: ARG001 - there is one optimizer so far
    """fp32 numbers that an optimizer keeps for each weight."""
    return 2
