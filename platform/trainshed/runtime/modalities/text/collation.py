"""Samples of different lengths as one tensor: padded to the longest of the batch, with a mask of what is real."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

IGNORED = -100
"""A target that counts for nothing."""


def pad(rows: Sequence[np.ndarray[Any, Any]], fill: int) -> torch.Tensor:
    """int64 `(rows, longest)`, filled up on the right."""
    out = np.full((len(rows), max(1, *(len(row) for row in rows))), fill, dtype=np.int64)
    for number, row in enumerate(rows):
        out[number, : len(row)] = row
    return torch.from_numpy(out)


def mask(rows: Sequence[np.ndarray[Any, Any]]) -> torch.Tensor:
    """int64 `(rows, longest)`: 1 where `pad` has a real token."""
    return pad([np.ones(len(row), dtype=np.int64) for row in rows], 0)


def inputs(rows: Sequence[np.ndarray[Any, Any]], fill: int) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask`, both `(rows, longest)`."""
    return {"input_ids": pad(rows, fill), "attention_mask": mask(rows)}
