"""How weights move: which engine, what it splits over the workers, what it keeps off the device.

Each engine has one file: its fields, the layouts that it may have with the bytes of each, and what it refuses. All have
the same members, so that nobody outside of this room asks which one it is.
"""

from typing import Annotated

from pydantic import Field

from trainshed.spec.training.engines.ddp import Ddp, DdpLayout
from trainshed.spec.training.engines.deepspeed import DeepSpeed, ZeroLayout, zero_layouts
from trainshed.spec.training.engines.fsdp import Fsdp, FsdpLayout
from trainshed.spec.training.engines.load import FP32, Bytes, Load
from trainshed.spec.training.engines.offload import NOTHING, Offload

__all__ = [
    "FP32",
    "NOTHING",
    "Bytes",
    "Ddp",
    "DdpLayout",
    "DeepSpeed",
    "Engine",
    "Fsdp",
    "FsdpLayout",
    "Layout",
    "Load",
    "Offload",
    "ZeroLayout",
    "zero_layouts",
]

Engine = Annotated[DeepSpeed | Ddp | Fsdp, Field(discriminator="kind")]

Layout = ZeroLayout | DdpLayout | FsdpLayout
"""How an engine spreads a model: what is split over the workers, what is kept off the device."""
