"""DeepSpeed ZeRO: its fields, how it may spread a model over workers and memories, and what a worker then holds.

After arXiv 1910.02054, section 3, as DeepSpeed 0.19 really does it (benchmarks/memory.py measures it): fp32 master
weights in stages 1 to 3 whatever the precision, and whole gradients between the passes of a step in stage 1. Under
stage 3 parameters of fewer than 100,000 numbers stay whole on every worker: norms and biases, too small to count here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import model_validator

from trainshed.spec.devices import Precision
from trainshed.spec.document.part import Part
from trainshed.spec.training.engines.load import FP32, Bytes, Load
from trainshed.spec.training.engines.offload import NOTHING, Offload
from trainshed.spec.training.optimizers import Optimizer, needs_whole_matrices

SMALLEST_BUCKET = 1 << 20
LARGEST_BUCKET = 5 * 10**8
"""Numbers in the buffer that gradients are added up in."""
MOST_GATHERED = 10**9
"""Numbers of parameters that stage 3 holds whole at once, DeepSpeed's stage3_max_live_parameters."""


def bucket_numbers(parameters: int) -> int:
    """Numbers in DeepSpeed's buffer for gradients."""
    return max(SMALLEST_BUCKET, min(parameters, LARGEST_BUCKET))


@dataclass(frozen=True)
class ZeroLayout:
    """What is split over the workers, and what is kept off the device."""

    engine: Literal["deepspeed"] = "deepspeed"
    zero_stage: int = 0
    offload: Offload = NOTHING

    def __str__(self) -> str:
        """The text of the plan's table."""
        return ", ".join([f"ZeRO-{self.zero_stage}", *(f"{what} on {place}" for what, place in self._offloaded)])

    @property
    def keys(self) -> str:
        """The keys of a job file that choose it."""
        off = [f"engine.offload.{what}: {place}" for what, place in self._offloaded]
        return " and ".join([f"engine.zero_stage: {self.zero_stage}", *off])

    @property
    def _offloaded(self) -> list[tuple[str, str]]:
        places = (("optimizer", self.offload.optimizer), ("parameters", self.offload.parameters))
        return [(what, place) for what, place in places if place != "none"]

    @property
    def least_stage(self) -> int:
        """The stage that its offloading needs."""
        if self.offload.parameters != "none":
            return 3
        return 1 if self.offload.optimizer != "none" else 0

    def bytes_of(self, load: Load) -> Bytes:
        """Bytes of states on one worker."""
        stage = self.zero_stage
        workers = load.workers
        splits_optimizer, splits_gradients, splits_all = (workers if stage >= first else 1 for first in (1, 2, 3))
        if stage == 1 and not load.several_passes:  # it splits them when the last pass is over
            splits_gradients = workers
        average = load.trained * FP32 if load.averaged else 0
        buffers = bucket_numbers(load.parameters) * load.width + average // splits_optimizer
        if stage == 3:
            buffers += min(load.parameters, MOST_GATHERED) * load.width
        on_device = Bytes(
            parameters=load.parameters * load.width // splits_all,
            gradients=load.trained * load.width // splits_gradients,
            optimizer=int(load.trained * (load.moments + (1 if stage else 0)) * FP32) // splits_optimizer,
            buffers=buffers,
        )
        return self._moved(on_device, load)

    def _moved(self, held: Bytes, load: Load) -> Bytes:
        """The same where some of it is kept off the device."""
        moved = {"host": 0, "disk": 0}
        parameters = held.parameters
        gradients = held.gradients
        optimizer = held.optimizer
        if self.offload.optimizer != "none":
            moved["host"] += load.trained * (FP32 + load.width) // load.workers  # gradients as they come, and as read
            moved["disk" if self.offload.optimizer == "nvme" else "host"] += optimizer
            optimizer = 0
            gradients = gradients if self.zero_stage == 1 else 0
        if self.offload.parameters != "none":
            moved["disk" if self.offload.parameters == "nvme" else "host"] += parameters
            parameters = 0
        return Bytes(parameters, gradients, optimizer, held.buffers, **moved)


def zero_layouts(precision: Precision, *, on_gpus: bool) -> tuple[ZeroLayout, ...]:
    """Every layout, least communication first; on CPUs there is nowhere to offload to.

    ZeRO-0 to 2 move the same bytes between workers, ZeRO-3 half as much again (arXiv 1910.02054, section 7);
    offloading moves states over the bus on top.
    """
    stages = (0, 1, 2, 3) if precision == "fp32" else (1, 2, 3)
    layouts = [ZeroLayout(zero_stage=stage) for stage in stages]
    if on_gpus:
        on_cpu = Offload(optimizer="cpu")
        layouts += [ZeroLayout(zero_stage=2, offload=on_cpu), ZeroLayout(zero_stage=3, offload=on_cpu)]
        layouts.append(ZeroLayout(zero_stage=3, offload=Offload(optimizer="cpu", parameters="cpu")))
    return tuple(layouts)


def misfit(optimizer: Optimizer, zero_stage: int) -> str | None:
    """Why an optimizer cannot work under a ZeRO stage, in one line; None where it can.

    Stages 1 to 3 give an optimizer flat pieces of the weights, in which no rows and columns are left.
    """
    if zero_stage == 0 or not needs_whole_matrices(optimizer):
        return None
    return (
        f"optimizer {optimizer.kind} needs whole matrices, and engine.zero_stage {zero_stage} gives it flat pieces; "
        "set engine.zero_stage: 0, or use optimizer adamw"
    )


class DeepSpeed(Part):
    """DeepSpeed ZeRO (arXiv 1910.02054)."""

    kind: Literal["deepspeed"] = "deepspeed"
    zero_stage: Literal[0, 1, 2, 3, "auto"] = 2
    """What is split over workers: 0 nothing, 1 optimizer states, 2 and gradients, 3 and parameters; `auto` is the
    cheapest that fits, chosen by the plan."""
    offload: Offload = NOTHING
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

    @property
    def name(self) -> str:
        """The name within a sentence."""
        return f"ZeRO-{self.zero_stage}"

    @property
    def open_key(self) -> str | None:
        """The key that says auto, which the plan answers; None where none does."""
        return "engine.zero_stage" if self.zero_stage == "auto" else None

    @property
    def needs_all_gather(self) -> bool:
        """Whether it puts together what it has split."""
        return True

    @property
    def layout(self) -> ZeroLayout:
        """The one that it names; it must not say auto."""
        return ZeroLayout(zero_stage=int(self.zero_stage), offload=self.offload)

    def layouts(self, optimizer: Optimizer, precision: Precision, *, on_gpus: bool) -> tuple[ZeroLayout, ...]:
        """What the plan may choose from: what it says, or every layout that offloads at least what it says."""
        if self.zero_stage != "auto":
            return (self.layout,)
        layouts = []
        for layout in self.alternatives(precision, on_gpus=on_gpus):
            offload = Offload(
                optimizer=self.offload.optimizer if self.offload.optimizer != "none" else layout.offload.optimizer,
                parameters=self.offload.parameters if self.offload.parameters != "none" else layout.offload.parameters,
                nvme_path=self.offload.nvme_path,
            )
            asked = ZeroLayout(zero_stage=layout.zero_stage, offload=offload)
            if asked.zero_stage >= asked.least_stage and misfit(optimizer, asked.zero_stage) is None:
                layouts.append(asked)
        return tuple(dict.fromkeys(layouts))

    def alternatives(self, precision: Precision, *, on_gpus: bool) -> tuple[ZeroLayout, ...]:
        """Layouts to compare, least communication first."""
        return zero_layouts(precision, on_gpus=on_gpus)

    def settled(self, layout: object) -> DeepSpeed:
        """The engine with what the plan has chosen in place of auto."""
        if self.zero_stage != "auto":
            return self
        assert isinstance(layout, ZeroLayout)
        return self.model_copy(update={"zero_stage": layout.zero_stage, "offload": layout.offload})

    def optimizer_misfit(self, optimizer: Optimizer) -> str | None:
        """Why an optimizer cannot work under it, in one line; None where it can, or a stage is left to choose."""
        return misfit(optimizer, 0 if self.zero_stage == "auto" else self.zero_stage)

    def precision_misfit(self, precision: Precision) -> str | None:
        """Why a precision does not go with it, in one line; None where it does."""
        if precision == "fp32" or self.zero_stage != 0:
            return None
        return f"precision {precision} needs engine.zero_stage 1 or more, got 0; stage 0 loses accuracy in it"
