"""How weights move: which engine, what it splits over the workers, what it keeps off the device."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainshed.spec.document.part import Part

Place = Literal["none", "cpu", "nvme"]


class Offload(Part):
    """What a worker keeps off its device (ZeRO-Offload, arXiv 2101.06840; ZeRO-Infinity, arXiv 2104.07857)."""

    optimizer: Place = "none"
    """Where optimizer states and master weights live, and where the optimizer runs; needs zero_stage 1 or more."""
    parameters: Place = "none"
    """Where the parameters wait until their layer needs them; needs zero_stage 3."""
    nvme_path: str | None = None
    """Folder on each worker's local disk, for `nvme`."""

    @model_validator(mode="after")
    def _disk_is_named(self) -> Offload:
        if "nvme" in (self.optimizer, self.parameters) and not self.nvme_path:
            raise ValueError("nvme_path is missing: offloading to nvme needs a folder on the worker's local disk")
        return self


class DeepSpeed(Part):
    """DeepSpeed ZeRO (arXiv 1910.02054)."""

    kind: Literal["deepspeed"] = "deepspeed"
    zero_stage: Literal[0, 1, 2, 3, "auto"] = 2
    """What is split over workers: 0 nothing, 1 optimizer states, 2 and gradients, 3 and parameters; `auto` is the
    cheapest that fits, chosen by the plan."""
    offload: Offload = Offload()
    """What is kept off the device. Under `zero_stage: auto` the plan may add offloading to the CPU."""
    activation_checkpointing: bool = False
    """Keep each layer's input only and compute the rest again in the backward pass (arXiv 1604.06174)."""
    compile: bool = False
    """Compile the model with torch.compile; pays in long runs of one shape."""

    @model_validator(mode="after")
    def _offload_needs_its_stage(self) -> DeepSpeed:
        if self.zero_stage == "auto":
            return self
        if self.offload.parameters != "none" and self.zero_stage != 3:
            raise ValueError(f"offload.parameters needs zero_stage 3, got {self.zero_stage}; raise it, or leave it out")
        if self.offload.optimizer != "none" and self.zero_stage == 0:
            raise ValueError("offload.optimizer needs zero_stage 1 or more, got 0; raise it, or leave it out")
        return self


class Ddp(Part):
    """torch's DistributedDataParallel: every worker holds everything (arXiv 2006.15704)."""

    kind: Literal["ddp"] = "ddp"
    activation_checkpointing: bool = False
    """As DeepSpeed's."""
    compile: bool = False
    """As DeepSpeed's."""


Engine = Annotated[DeepSpeed | Ddp, Field(discriminator="kind")]
