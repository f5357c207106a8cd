"""Samples as Arrow tables: how they are cut into pieces that fit the memory, and how many arrays become one column.

A sample has `origin` and `split`, and of `text`, `target`, `label`, `image`, `done` what the job reads. Knows no Ray.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TYPES = {
    "origin": pa.string(),
    "split": pa.string(),
    "text": pa.string(),
    "target": pa.string(),
    "label": pa.string(),
    "image": pa.binary(),
    "done": pa.string(),
}
SAMPLES_PER_TABLE = 1024
CHARACTERS_PER_PIECE = 1 << 20
"""What is tokenised at a time: an encoding takes some twenty times the bytes of its text."""


def tables(samples: Iterable[dict[str, object]], names: Sequence[str]) -> Iterator[pa.Table]:
    """Samples as tables with these columns; one without rows where there are no samples."""
    schema = pa.schema([(name, TYPES[name]) for name in names])
    source = iter(samples)
    rows = list(islice(source, SAMPLES_PER_TABLE))
    yield pa.Table.from_pylist(rows, schema=schema)
    while rows := list(islice(source, SAMPLES_PER_TABLE)):
        yield pa.Table.from_pylist(rows, schema=schema)


def names_of(read_fields: Iterable[str]) -> list[str]:
    """The columns of samples of which these things are read."""
    read = set(read_fields)
    wanted = {"origin", "split", *read, *(("done",) if "image" in read else ())}
    return [name for name in TYPES if name in wanted]


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


def by_split(table: pa.Table, splits: Iterable[str]) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each split that has any, in their order."""
    for split in splits:
        part = table.filter(pc.equal(table["split"], split))
        if part.num_rows:
            yield split, part
