"""torch's fully_shard (FSDP2): its fields, what a worker holds under it, and what cannot work on shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainshed.spec.devices import Precision
from trainshed.spec.document.part import Part
from trainshed.spec.training.engines.load import FP32, Bytes, Load
from trainshed.spec.training.optimizers import Optimizer, needs_whole_matrices


@dataclass(frozen=True)
class FsdpLayout:
    """A layout that splits all states over the workers, and how long gathered weights stay whole."""

    engine: Literal["fsdp"] = "fsdp"
    reshard_after_forward: bool = True
    reduce_each_pass: bool = True

    def __str__(self) -> str:
        """The text of the plan's table."""
        weights = [] if self.reshard_after_forward else ["weights kept whole"]
        gradients = [] if self.reduce_each_pass else ["gradients kept whole"]
        return ", ".join(["fsdp", *weights, *gradients])

    @property
    def keys(self) -> str:
        """The keys of a job file that choose it."""
        said = (f"{self.reshard_after_forward}".lower(), f"{self.reduce_each_pass}".lower())
        return f"engine.reshard_after_forward: {said[0]} and engine.reduce_each_pass: {said[1]}"

    def bytes_of(self, load: Load) -> Bytes:
        """Bytes of states on one worker: fp32 shards, which are master weights too, and what is whole at once."""
        whole = load.gathered if self.reshard_after_forward else load.parameters
        reduced = min(load.trained, load.gathered)
        splits_gradients = load.workers if self.reduce_each_pass or not load.several_passes else 1
        average = load.trained * FP32 // load.workers if load.averaged else 0
        return Bytes(
            parameters=load.parameters * FP32 // load.workers,
            gradients=load.trained * FP32 // splits_gradients,
            optimizer=int(load.trained * load.moments * FP32) // load.workers,
            buffers=whole * load.width + reduced * FP32 + average,
        )


class Fsdp(Part):
    """torch's fully_shard: weights, gradients and optimizer states are split over workers (arXiv 2304.11277)."""

    kind: Literal["fsdp"] = "fsdp"
    reshard_after_forward: bool = True
    """Split a layer's weights again after its forward pass, and gather them anew for the backward pass; false keeps
    them whole in between: less communication, more memory."""
    reduce_each_pass: bool = True
    """Split gradients after each pass of a step; false does it after the last one: less communication, and every worker
    holds whole gradients until then."""
    activation_checkpointing: bool = False
    """As DeepSpeed's."""
    compile: bool = False
    """As DeepSpeed's, layer by layer."""

    @property
    def name(self) -> str:
        """The name within a sentence."""
        return "FSDP"

    @property
    def open_key(self) -> str | None:
        """The key that says auto, which the plan answers; there is none."""
        return None

    @property
    def needs_all_gather(self) -> bool:
        """Whether it puts together what it has split."""
        return True

    @property
    def layout(self) -> FsdpLayout:
        """The one that it names."""
        return FsdpLayout(reshard_after_forward=self.reshard_after_forward, reduce_each_pass=self.reduce_each_pass)

    def layouts(self, optimizer: Optimizer, precision: Precision, *, on_gpus: bool) -> tuple[FsdpLayout, ...]:  # noqa: ARG002
        """What the plan may choose from: what it says."""
        return (self.layout,)

    def alternatives(self, precision: Precision, *, on_gpus: bool) -> tuple[FsdpLayout, ...]:  # noqa: ARG002
        """Layouts to compare, least communication first."""
        return tuple(
            FsdpLayout(reshard_after_forward=reshards, reduce_each_pass=reduces)
            for reshards in (False, True)
            for reduces in (False, True)
        )

    def settled(self, layout: object) -> Fsdp:  # noqa: ARG002
        """The engine with what the plan has chosen in place of auto."""
        return self

    def optimizer_misfit(self, optimizer: Optimizer) -> str | None:
        """Why an optimizer cannot work under it, in one line; None where it can."""
        if not needs_whole_matrices(optimizer):
            return None
        return (
            f"optimizer {optimizer.kind} needs whole matrices, and engine.kind fsdp gives it a worker's rows of them; "
            "set engine.kind: ddp, or use optimizer adamw"
        )

    def precision_misfit(self, precision: Precision) -> str | None:
        """Why a precision does not go with it, in one line; None where it does."""
        if precision != "fp16":
            return None
        return "precision fp16 does not go with engine.kind fsdp, which scales no loss; say bf16, or engine.kind: ddp"
