"""Samples as Arrow tables, and the schema of their shards; what each modality adds stands in `modalities`.

A sample has `origin` and `split`, and of `text`, `target`, `label`, `image`, `done` what the job reads. Knows no Ray.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from trainshed.runtime.modalities.image import columns as image
from trainshed.runtime.modalities.text import columns as text

LABEL_TYPES = {"class": pa.int64(), "number": pa.float64(), "multi": pa.list_(pa.float64())}
TYPES = {
    "origin": pa.string(),
    "split": pa.string(),
    **text.IN_SAMPLES,
    "label": pa.string(),
    **image.IN_SAMPLES,
}
SAMPLES_PER_TABLE = 1024


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


def shard_schema(has: tuple[str, ...], label_kind: str | None, pixels: tuple[int, int] | None) -> pa.Schema:
    """The columns of shards of samples that have these things; `pixels` are size and channels of their images."""
    fields = [field for what, columns in text.IN_SHARDS.items() if what in has for field in columns]
    if pixels is not None:
        fields.append(image.shard_field(*pixels))
    if label_kind is not None:
        fields.append(pa.field("label", LABEL_TYPES[label_kind]))
    return pa.schema(fields)


def by_split(table: pa.Table, splits: Iterable[str]) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each split that has any, in their order."""
    for split in splits:
        part = table.filter(pc.equal(table["split"], split))
        if part.num_rows:
            yield split, part
