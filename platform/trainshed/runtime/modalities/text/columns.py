"""Texts as columns: as a sample has them while data is prepared, and as token ids in a shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

IN_SAMPLES = dict.fromkeys(("text", "text_pair", "target", "messages", "preference"), pa.string())
"""Conversations and preferences are JSON; see spec.data.conversations."""

IDS = pa.list_(pa.uint32())
MASK = pa.list_(pa.uint8())
"""1 for a token that is learnt."""
LENGTHS = pa.field("lengths", IDS)
"""Of a block: the tokens of each document in it, in their order."""
IN_SHARDS = {
    "text": (pa.field("tokens", IDS),),
    "text_pair": (pa.field("type_ids", MASK),),
    "target": (pa.field("target", IDS),),
    "messages": (pa.field("tokens", IDS), pa.field("loss_mask", MASK)),
    "preference": (
        *(pa.field("tokens", IDS), pa.field("loss_mask", MASK)),
        *(pa.field("rejected", IDS), pa.field("rejected_mask", MASK)),
    ),
}
"""The columns of a shard for each thing that a sample has. The tokens of a pair are in one row, and `type_ids` says of
which text each is; of a preference `tokens` are the chosen side."""
CHARACTERS_PER_PIECE = 1 << 20
"""What is tokenised at a time: an encoding takes some twenty times the bytes of its text."""


def pieces(table: pa.Table, name: str) -> Iterator[pa.Table]:
    """The table in slices of about `CHARACTERS_PER_PIECE` of one column, a row at least in each."""
    sizes = pc.binary_length(table[name]).to_numpy()
    numbers = (np.cumsum(sizes) - sizes) // CHARACTERS_PER_PIECE
    starts = [*np.flatnonzero(np.diff(numbers, prepend=-1)), table.num_rows]
    for start, end in pairwise(starts):
        yield table.slice(start, end - start)


def lists(arrays: Sequence[Sequence[int] | np.ndarray[Any, Any]], dtype: Any = np.uint32) -> pa.ListArray:
    """Token ids of many texts as one column of lists of uint32; masks as lists of uint8."""
    offsets = np.zeros(len(arrays) + 1, dtype=np.int32)
    np.cumsum([len(one) for one in arrays], out=offsets[1:])
    values = np.empty(int(offsets[-1]), dtype=dtype)
    for start, one in zip(offsets, arrays, strict=False):
        values[start : start + len(one)] = one
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
