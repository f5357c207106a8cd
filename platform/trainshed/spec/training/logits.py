"""When a decoder's logits are made in chunks: with a large vocabulary they would be most of a pass's memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainshed.spec.training.engines.load import FP32

WHOLE_BYTES = 2**30
"""Of fp32 logits; those of a pass that are no more stay whole, which is a little faster."""
CHUNK_BYTES = 2**28
SCALED = ("final_logit_softcapping", "logit_scale", "logits_scaling")
"""Keys of a config.json by which a model changes its logits after its head; its head cannot answer for it."""


def tokens_at_once(tokens: int, vocabulary: int) -> int:
    """Of so many tokens of one pass, those whose logits are alive at one time."""
    if FP32 * tokens * vocabulary <= WHOLE_BYTES:
        return tokens
    return max(1, CHUNK_BYTES // (FP32 * vocabulary))


def has_plain_head(config: Mapping[str, Any]) -> bool:
    """Whether a model's logits are what its head says."""
    return not any(config.get(key) for key in SCALED)
