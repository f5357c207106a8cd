"""How an engine may spread a model over workers and memories, least communication first.

ZeRO-0 to 2 move the same bytes between workers, ZeRO-3 half as much again (arXiv 1910.02054, section 7); offloading
moves states over the bus on top.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

from trainshed.spec.training.engines import Ddp, DeepSpeed, Offload
from trainshed.spec.training.optimizers import misfit
from trainshed.spec.training.train import Training

NOTHING = Offload()


@dataclass(frozen=True)
class Layout:
    """How an engine spreads a model: what is split over the workers, what is kept off the device."""

    engine: Literal["deepspeed", "ddp"]
    zero_stage: int = 0
    offload: Offload = NOTHING

    def __str__(self) -> str:
        """As the table has it."""
        if self.engine == "ddp":
            return "ddp"
        return ", ".join([f"ZeRO-{self.zero_stage}", *(f"{what} on {place}" for what, place in self._offloaded)])

    @property
    def keys(self) -> str:
        """As a job file says it."""
        off = [f"engine.offload.{what}: {place}" for what, place in self._offloaded]
        return " and ".join([f"engine.zero_stage: {self.zero_stage}", *off])

    @property
    def _offloaded(self) -> list[tuple[str, str]]:
        places = (("optimizer", self.offload.optimizer), ("parameters", self.offload.parameters))
        return [(what, place) for what, place in places if place != "none"]


def layout_of(engine: DeepSpeed | Ddp) -> Layout:
    """The layout that an engine names; it must not say auto."""
    match engine:
        case DeepSpeed():
            return Layout("deepspeed", int(engine.zero_stage), engine.offload)
        case Ddp():
            return Layout("ddp")
        case _:
            assert_never(engine)


def layouts_to_choose_from(training: Training) -> tuple[Layout, ...]:
    """What may be chosen: what the job says, or every layout that offloads at least what it says."""
    engine = training.engine
    if not isinstance(engine, DeepSpeed) or engine.zero_stage != "auto":
        return (layout_of(engine),)
    asked = engine.offload
    layouts = []
    for layout in every_layout(training):
        offload = Offload(
            optimizer=asked.optimizer if asked.optimizer != "none" else layout.offload.optimizer,
            parameters=asked.parameters if asked.parameters != "none" else layout.offload.parameters,
            nvme_path=asked.nvme_path,
        )
        if layout.zero_stage < (3 if offload.parameters != "none" else 1 if offload.optimizer != "none" else 0):
            continue
        if misfit(training.optimizer, layout.zero_stage) is not None:
            continue
        layouts.append(Layout("deepspeed", layout.zero_stage, offload))
    return tuple(dict.fromkeys(layouts))


def every_layout(training: Training) -> tuple[Layout, ...]:
    """DeepSpeed's layouts, least communication first; on CPUs there is nowhere to offload to."""
    stages = (0, 1, 2, 3) if training.precision == "fp32" else (1, 2, 3)
    layouts = [Layout("deepspeed", stage) for stage in stages]
    if training.workers.gpus:
        on_cpu = Offload(optimizer="cpu")
        layouts += [Layout("deepspeed", 2, on_cpu), Layout("deepspeed", 3, on_cpu)]
        layouts.append(Layout("deepspeed", 3, Offload(optimizer="cpu", parameters="cpu")))
    return tuple(layouts)
