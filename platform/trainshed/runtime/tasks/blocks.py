"""Blocks of documents that see nothing of each other: positions begin anew with each, and attention stays within it.

transformers keeps documents apart where a model gets `position_ids` and no mask: its masks are made block by block from
the places where positions begin anew. A family that makes its positions, or its masks, in another way cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedConfig

from trainshed.errors import PlatformError
from trainshed.runtime.modalities.text.collation import IGNORED, pad
from trainshed.spec.training.models.blocks import apart_fault

Array = np.ndarray[Any, Any]


def refuse_where_documents_meet(config: PreTrainedConfig) -> None:
    """Refuses a family that would let a document of a block see another.

    Raises:
        PlatformError: it is not one of those of which it is known that they keep documents apart.
    """
    if why := apart_fault(config.model_type):
        raise PlatformError(f"model: {why}")


def block_batch(
    tokens: Sequence[Array], lengths: Sequence[Array], masks: Sequence[Array] | None, *, size: int, fill: int
) -> dict[str, torch.Tensor]:
    """`input_ids`, `position_ids` and `labels`, each int64 `(blocks, size)`.

    A block is filled up to `size` with one more document, which counts for nothing; so does the first token of each,
    which nothing before it could predict.
    """
    labels = [
        _labels(own, sizes, None if masks is None else masks[row])
        for row, (own, sizes) in enumerate(zip(tokens, lengths, strict=True))
    ]
    positions = [_positions(sizes, size) for sizes in lengths]
    whole = [np.concatenate([own, np.full(size - len(own), fill)]) for own in tokens]
    ignored = [np.concatenate([own, np.full(size - len(own), IGNORED)]) for own in labels]
    return {"input_ids": pad(whole, fill), "position_ids": pad(positions, 0), "labels": pad(ignored, IGNORED)}


def _labels(tokens: Array, lengths: Array, mask: Array | None) -> Array:
    labels = tokens.copy() if mask is None else np.where(mask.astype(bool), tokens, IGNORED)
    labels[np.cumsum(lengths) - lengths] = IGNORED
    return labels


def _positions(lengths: Array, size: int) -> Array:
    rest = size - int(lengths.sum())
    sizes = [*lengths.tolist(), *([rest] if rest else [])]
    return np.concatenate([np.arange(one) for one in sizes])
