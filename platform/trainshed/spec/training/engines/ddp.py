"""torch's DistributedDataParallel: its fields, and what a worker holds under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainshed.spec.devices import Precision
from trainshed.spec.document.part import Part
from trainshed.spec.training.engines.load import FP32, Bytes, Load
from trainshed.spec.training.engines.offload import NOTHING, Offload
from trainshed.spec.training.optimizers import Optimizer


@dataclass(frozen=True)
class DdpLayout:
    """Every worker holds everything."""

    engine: Literal["ddp"] = "ddp"
    zero_stage: Literal[0] = 0
    """Nothing is split, as in ZeRO-0; `platform plan --json` has said so from the beginning."""
    offload: Offload = NOTHING

    def __str__(self) -> str:
        """The text of the plan's table."""
        return "ddp"

    @property
    def keys(self) -> str:
        """The keys of a job file that choose it."""
        return "engine.kind: ddp"

    def bytes_of(self, load: Load) -> Bytes:
        """Bytes of states on one worker."""
        # autocast: all but light weights stay fp32, and their half-precision copies live through a pass
        heavy = load.parameters - load.light
        copies = heavy * load.width if load.width < FP32 else 0
        average = load.trained * FP32 if load.averaged else 0
        return Bytes(
            parameters=heavy * FP32 + load.light_bytes,
            gradients=load.trained * FP32,
            optimizer=int(load.trained * load.moments * FP32),
            buffers=average + copies,
        )


class Ddp(Part):
    """torch's DistributedDataParallel: every worker holds everything (arXiv 2006.15704)."""

    kind: Literal["ddp"] = "ddp"
    activation_checkpointing: bool = False
    """As DeepSpeed's."""
    compile: bool = False
    """As DeepSpeed's."""

    @property
    def name(self) -> str:
        """The name within a sentence."""
        return "DDP"

    @property
    def open_key(self) -> str | None:
        """The key that says auto, which the plan answers; there is none."""
        return None

    @property
    def needs_all_gather(self) -> bool:
        """Whether it puts together what it has split."""
        return False

    @property
    def layout(self) -> DdpLayout:
        """The only one."""
        return DdpLayout()

    def layouts(self, optimizer: Optimizer, precision: Precision, *, on_gpus: bool) -> tuple[DdpLayout, ...]:  # noqa: ARG002
        """What the plan may choose from."""
        return (self.layout,)

    def alternatives(self, precision: Precision, *, on_gpus: bool) -> tuple[DdpLayout, ...]:  # noqa: ARG002
        """Layouts to compare, least communication first; it has none but its own."""
        return ()

    def settled(self, layout: object) -> Ddp:  # noqa: ARG002
        """The engine with what the plan has chosen in place of auto."""
        return self

    def optimizer_misfit(self, optimizer: Optimizer) -> str | None:  # noqa: ARG002
        """Why an optimizer cannot work under it, in one line; None where it can."""
        return None

    def precision_misfit(self, precision: Precision) -> str | None:  # noqa: ARG002
        """Why a precision does not go with it, in one line; None where it does."""
        return None
