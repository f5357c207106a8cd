"""How weights move: which engine, what it splits over the workers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainshed.spec.part import Part


class DeepSpeed(Part):
    """DeepSpeed ZeRO (arXiv 1910.02054)."""

    kind: Literal["deepspeed"] = "deepspeed"
    zero_stage: Literal[0, 1, 2, 3] = 2
    """What is split over workers: 0 nothing, 1 optimizer states, 2 and gradients, 3 and parameters."""


class Ddp(Part):
    """torch's DistributedDataParallel: every worker holds everything (arXiv 2006.15704)."""

    kind: Literal["ddp"] = "ddp"


Engine = Annotated[DeepSpeed | Ddp, Field(discriminator="kind")]
