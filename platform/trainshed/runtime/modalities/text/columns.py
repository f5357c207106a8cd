"""Texts as columns: as a sample has them while data is prepared, and as token ids in a shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

IN_SAMPLES = {"text": pa.string(), "target": pa.string()}
IN_SHARDS = {"text": pa.field("tokens", pa.list_(pa.uint32())), "target": pa.field("target", pa.list_(pa.uint32()))}
"""The column of a shard for each thing that a sample has."""
CHARACTERS_PER_PIECE = 1 << 20
"""What is tokenised at a time: an encoding takes some twenty times the bytes of its text."""


def pieces(table: pa.Table, name: str) -> Iterator[pa.Table]:
    """The table in slices of about `CHARACTERS_PER_PIECE` of one column, a row at least in each."""
    sizes = pc.binary_length(table[name]).to_numpy()
    numbers = (np.cumsum(sizes) - sizes) // CHARACTERS_PER_PIECE
    starts = [*np.flatnonzero(np.diff(numbers, prepend=-1)), table.num_rows]
    for start, end in pairwise(starts):
        yield table.slice(start, end - start)


def lists(arrays: Sequence[Sequence[int] | np.ndarray[Any, Any]]) -> pa.ListArray:
    """Token ids of many texts as one column of lists of uint32."""
    offsets = np.zeros(len(arrays) + 1, dtype=np.int32)
    np.cumsum([len(one) for one in arrays], out=offsets[1:])
    values = np.empty(int(offsets[-1]), dtype=np.uint32)
    for start, one in zip(offsets, arrays, strict=False):
        values[start : start + len(one)] = one
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
