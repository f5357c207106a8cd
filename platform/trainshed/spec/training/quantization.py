"""Numbers in fewer bits while a model is trained: 4-bit frozen weights, 8-bit moments. Both are bitsandbytes' work."""

from __future__ import annotations

from importlib.util import find_spec

from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.engines import Ddp, Engine
from trainshed.spec.training.export import Export
from trainshed.spec.training.models import Model, Pretrained
from trainshed.spec.training.optimizers import AdamW8bit, Optimizer

EXTRA = "bitsandbytes"
"""The library, and the extra that brings it."""


def keys_of(lora: Lora | None, optimizer: Optimizer) -> tuple[str, ...]:
    """What of a training needs the library: keys and values of its job file."""
    four = ("lora.quantize_base: nf4",) if lora is not None and lora.quantize_base != "none" else ()
    return (*four, *(("optimizer.kind: adamw_8bit",) if isinstance(optimizer, AdamW8bit) else ()))


def misfit(
    lora: Lora | None, optimizer: Optimizer, *, model: Model, engine: Engine, export: Export, gpus: float
) -> str | None:
    """Why a training cannot have them, in one line; None where it can, or wants none."""
    for key in keys_of(lora, optimizer):
        instead = "leave it out" if key.startswith("lora") else "say adamw"
        if not gpus:
            return f"{key} needs workers.gpus above 0, got 0; on CPUs it would only be slower: {instead}"
        if not isinstance(engine, Ddp):
            return f"{key} goes with engine.kind: ddp, got {engine.kind}; say ddp, or {instead}"
    if lora is None or lora.quantize_base == "none":
        return None
    if not isinstance(model, Pretrained):
        return "lora.quantize_base: nf4 is for existing weights, and a fresh model has none to keep; leave it out"
    if export.writes_adapters:
        return (
            f"export.adapters: {export.adapters} writes adapters, and those of a 4-bit base answer otherwise beside "
            "the whole one; say merged: the model goes out as it was trained"
        )
    return None


def is_installed_here() -> bool:
    """Whether the library is there for this Python; a folder of its name beside a job is none."""
    found = find_spec(EXTRA)
    return found is not None and found.origin is not None
