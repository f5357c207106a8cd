"""Which part of a model is trained: low-rank adapters, or all but what is frozen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainshed.spec.document.part import Count, Part, Positive, Ratio

FOUR_BIT_BYTES = 1 / 2 + 1 / 64 + 4 / (64 * 256)
"""Of one weight in nf4: half a byte, a byte for 64 weights' scale, and fp32 for 256 of those scales."""


class Lora(Part):
    """Low-rank adapters beside frozen weights (arXiv 2106.09685); merged into the weights at export."""

    rank: Count = 8
    alpha: Positive = 16
    """The adapters' output is multiplied by alpha / rank."""
    dropout: Ratio = 0.0
    """Of the adapters' input."""
    target_modules: Literal["auto", "all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = "auto"
    """Names of the layers that get adapters; auto is what peft knows of the architecture, else all linear layers."""
    quantize_base: Literal["none", "nf4"] = "none"
    """nf4: the frozen linear layers of an existing model are held in 4 bits (QLoRA, arXiv 2305.14314), and go out as
    those 4 bits say, with the adapters merged. Needs GPUs, engine ddp and the extra bitsandbytes."""
