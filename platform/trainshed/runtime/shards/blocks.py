"""Packed blocks on disk: Arrow IPC files of fixed-size lists, written in one pass and read by memory map.

A shard is `tokens: fixed_size_list<uint32>[block_size]`, so a block is one slice of a memory map: no parsing, no copy,
and nothing but the operating system's page cache in memory. manifest.json is written last: without it there is no data.
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

SHARD_TOKENS = 1 << 24


@dataclass
class BlockWriter:
    """Cuts a stream of token ids into blocks and writes them as shards of one split."""

    storage: Storage
    folder: str
    split: str
    block_size: int
    vocab_size: int
    shards: list[ShardFacts] = field(default_factory=list)
    blocks: int = 0
    documents: int = 0

    def __post_init__(self) -> None:
        self.counts = np.zeros(self.vocab_size, dtype=np.int64)
        self._held: list[np.ndarray[Any, Any]] = []
        self._held_tokens = 0
        self._per_shard = max(1, SHARD_TOKENS // self.block_size) * self.block_size

    def add(self, tokens: np.ndarray[Any, Any]) -> None:
        """Appends the tokens of one document, its end mark included."""
        self.extend(tokens, documents=1)

    def extend(self, tokens: np.ndarray[Any, Any], *, documents: int) -> None:
        """Appends the joined tokens of several documents."""
        self.documents += documents
        self._held.append(tokens)
        self._held_tokens += len(tokens)
        if self._held_tokens < self._per_shard:
            return
        joined = np.concatenate(self._held)
        whole = len(joined) // self._per_shard * self._per_shard
        for start in range(0, whole, self._per_shard):
            self._write(joined[start : start + self._per_shard])
        self._held = [joined[whole:]]
        self._held_tokens = len(joined) - whole

    def close(self) -> SplitFacts:
        """Writes the rest and returns the split's manifest; less than one block at the end is left out, and counted."""
        joined = np.concatenate(self._held) if self._held else np.zeros(0, dtype=np.uint32)
        whole = len(joined) // self.block_size * self.block_size
        if whole:
            self._write(joined[:whole])
        return SplitFacts(
            documents=self.documents,
            samples=self.blocks,
            blocks=self.blocks,
            tokens=self.blocks * self.block_size,
            tokens_left_out=len(joined) - whole,
            unigram_entropy_nats=entropy(self.counts),
            shards=tuple(self.shards),
        )

    def _write(self, tokens: np.ndarray[Any, Any]) -> None:
        self.counts += np.bincount(tokens, minlength=self.vocab_size)
        values = pa.array(tokens.astype(np.uint32))
        table = pa.table({"tokens": pa.FixedSizeListArray.from_arrays(values, self.block_size)})
        name = f"{self.split}-{len(self.shards):05d}.arrow"
        self.shards.append(write_shard(self.storage, self.folder, name, table))
        self.blocks += table.num_rows


class Blocks:
    """The blocks of one split; see `trainshed.runtime.tasks.Samples`."""

    def __init__(self, folder: Path, samples: SamplesFacts, split: str) -> None:
        if samples.block_size is None:
            raise ValueError("samples that are no packed blocks")
        self.block_size = samples.block_size
        self._arrays = [_map_blocks(folder / shard.file, self.block_size) for shard in samples.splits[split].shards]
        self._starts = np.cumsum([0, *(len(array) for array in self._arrays)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, ids: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Blocks by number: `tokens`, shape `(len(ids), block_size)`, int64."""
        out = np.empty((len(ids), self.block_size), dtype=np.int64)
        for row, number in enumerate(ids):
            shard = int(np.searchsorted(self._starts, number, side="right")) - 1
            out[row] = self._arrays[shard][number - self._starts[shard]]
        return {"tokens": out}


def entropy(counts: np.ndarray[Any, Any]) -> float:
    """Shannon entropy in nats of the distribution that counts give: no model of single tokens can have a lower loss."""
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log(shares)).sum())


def _map_blocks(path: Path, block_size: int) -> np.ndarray[Any, Any]:
    tokens: np.ndarray[Any, Any] = map_shard(path)["tokens"].chunk(0).flatten().to_numpy(zero_copy_only=True)
    return tokens.reshape(-1, block_size)
