"""Labelled samples on disk: Arrow IPC files with a column for each thing a sample has, read by memory map.

Columns: tokens, target and rejected (lists of uint32), their masks (lists of uint8), lengths of documents in a block,
label (int64, float64 or list of float64), pixels (a fixed list of uint8).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trainshed.record.data_manifest import SamplesFacts, ShardFacts, SplitFacts
from trainshed.record.storage import Storage
from trainshed.runtime.shards.files import map_shard, write_shard

SHARD_SAMPLES = 1 << 16
IDS = ("tokens", "target", "rejected")
RAGGED = (*IDS, "lengths", "loss_mask", "rejected_mask", "type_ids")
"""Columns whose rows have lengths of their own."""


@dataclass
class ExampleWriter:
    """Writes the samples of one split as shards."""

    storage: Storage
    folder: str
    split: str
    schema: pa.Schema
    labels: int = 0
    """Classes that are counted; 0 where labels are numbers or there are none."""
    shards: list[ShardFacts] = field(default_factory=list)
    samples: int = 0
    tokens: int = 0

    def __post_init__(self) -> None:
        self._held: list[pa.Table] = []
        self._held_samples = 0
        self._label_counts = np.zeros(self.labels, dtype=np.int64)

    def add(self, table: pa.Table) -> None:
        """Appends samples: a table of the writer's schema."""
        self._held.append(table.cast(self.schema))
        self._held_samples += table.num_rows
        self.tokens += sum(len(_values(table[name])) for name in IDS if name in table.column_names)
        if self.labels:
            self._label_counts += self._counted(table["label"])
        while self._held_samples >= SHARD_SAMPLES:
            self._write(SHARD_SAMPLES)

    def close(self) -> SplitFacts:
        """Writes the rest and returns the split's manifest."""
        if self._held_samples:
            self._write(self._held_samples)
        made = SplitFacts(samples=self.samples, tokens=self.tokens, shards=tuple(self.shards))
        return made.model_copy(update={"label_counts": tuple(self._label_counts.tolist())}) if self.labels else made

    def _counted(self, labels: pa.ChunkedArray) -> np.ndarray[Any, Any]:
        if pa.types.is_list(labels.type):
            counts = _values(labels).to_numpy().reshape(-1, self.labels).sum(axis=0)
        else:
            counts = np.bincount(labels.to_numpy(), minlength=self.labels)
        return np.asarray(counts, dtype=np.int64)

    def _write(self, count: int) -> None:
        held = pa.concat_tables(self._held)
        name = f"{self.split}-{len(self.shards):05d}.arrow"
        self.shards.append(write_shard(self.storage, self.folder, name, held.slice(0, count)))
        self.samples += count
        self._held = [held.slice(count)]
        self._held_samples = held.num_rows - count


class Examples:
    """The labelled samples of one split; see `trainshed.runtime.tasks.Samples`."""

    def __init__(self, folder: Path, samples: SamplesFacts, split: str) -> None:
        image = samples.image
        self._shape = None if image is None else (image.channels, image.size, image.size)
        self._shards = [_Shard(map_shard(folder / shard.file)) for shard in samples.splits[split].shards]
        self._starts = np.cumsum([0, *(shard.samples for shard in self._shards)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, ids: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Samples by number, a column for each thing they have.

        `tokens`, `target`, `lengths` and masks are lists of int64 arrays; `label` is int64 or float64 `(samples,)`, or
        float64 `(samples, labels)`; `pixels` is uint8 `(samples, channels, size, size)`.
        """
        places = [(int(np.searchsorted(self._starts, number, side="right")) - 1, number) for number in ids]
        taken: dict[str, Any] = {}
        for name in self._shards[0].columns:
            values = [self._shards[shard].row(name, int(number - self._starts[shard])) for shard, number in places]
            if name in RAGGED:
                taken[name] = [value.astype(np.int64) for value in values]
            else:
                taken[name] = np.stack(values)
        if self._shape is not None:
            taken["pixels"] = taken["pixels"].reshape(-1, *self._shape)
        return taken


class _Shard:
    """Columns of one shard as numpy views: values, and offsets where rows have lengths of their own."""

    def __init__(self, table: pa.Table) -> None:
        self.samples = table.num_rows
        self.columns: dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]] = {}
        for name in table.column_names:
            array = table[name].chunk(0)
            if pa.types.is_list(array.type):
                self.columns[name] = (array.values.to_numpy(), array.offsets.to_numpy())
            elif pa.types.is_fixed_size_list(array.type):
                self.columns[name] = (array.flatten().to_numpy().reshape(-1, array.type.list_size), None)
            else:
                self.columns[name] = (array.to_numpy(), None)

    def row(self, name: str, number: int) -> Any:
        """One sample's value."""
        values, offsets = self.columns[name]
        return values[number] if offsets is None else values[offsets[number] : offsets[number + 1]]


def _values(column: pa.ChunkedArray) -> pa.Array:
    """The values of all lists of a column, joined."""
    return column.combine_chunks().flatten()
