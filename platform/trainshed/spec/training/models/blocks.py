"""Which decoders can read several documents in one block without mixing them, by `model_type`."""

from __future__ import annotations

KEEPS_APART = frozenset(
    {
        "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "granite", "llama", "mistral", "mixtral", "olmo2", "phi",
        "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3", "stablelm", "starcoder2",
    }
)  # fmt: skip
"""Decoders that keep the documents of a block apart, with each attention implementation that they have: a test shows it
of each. Their masks and positions follow `position_ids`; of others it is not known, or they cannot."""


def apart_fault(model_type: str) -> str | None:
    """Why a family cannot read blocks of documents that are kept apart; None where it can."""
    if model_type in KEEPS_APART:
        return None
    return (
        f"a {model_type} is not known to keep the documents of a block apart: its positions or masks do not follow "
        f"position_ids, as those of {', '.join(sorted(KEEPS_APART))} do; prepare the data as `examples`, or with "
        "pack.documents: joined"
    )
