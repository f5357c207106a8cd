"""Who writes the samples of a split: as they come, or fitted into blocks beside one another."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Protocol

import numpy as np
import pyarrow as pa

from trainshed.record.data_manifest import SplitFacts
from trainshed.record.storage import Storage
from trainshed.runtime.data.apart import Block, BlockFitter, pieces_of
from trainshed.runtime.data.tokens import Tokens
from trainshed.runtime.modalities.text.columns import LENGTHS, lists
from trainshed.runtime.shards import ExampleWriter
from trainshed.spec.data.prepare import PrepareJob

BLOCKS_PER_TABLE = 256


class SampleWriter(Protocol):
    """Takes tables of samples in their order."""

    def add(self, table: pa.Table) -> None:
        """Appends samples."""

    def close(self) -> SplitFacts:
        """Writes the rest; what the manifest says of the split."""


def writer_of(
    job: PrepareJob, storage: Storage, folder: str, split: str, schema: pa.Schema, labels: int
) -> SampleWriter:
    """The writer of one split of a job."""
    if job.pack is not None:
        blocks = ExampleWriter(storage, folder, split, schema.append(LENGTHS), labels)
        return BlockSamples(blocks, job.pack.block_size, masked="loss_mask" in schema.names)
    return ExampleWriter(storage, folder, split, schema, labels)


class BlockSamples:
    """Fits documents into blocks; a sample that is written is a block."""

    def __init__(self, writer: ExampleWriter, block_size: int, *, masked: bool) -> None:
        self._writer = writer
        self._block_size = block_size
        self._masked = masked
        self._fitter = BlockFitter(block_size)
        self._documents = 0
        self._learnt = 0
        self._waiting: list[Block] = []

    def add(self, table: pa.Table) -> None:
        """Takes documents."""
        ids = _arrays(table["tokens"])
        masks = _arrays(table["loss_mask"]) if self._masked else [None] * len(ids)
        self._documents += len(ids)
        for own, mask in zip(ids, masks, strict=True):
            document = Tokens(own, mask)
            self._learnt += len(own) if mask is None else int(mask.sum())
            for piece in [document] if self._masked else pieces_of(document, self._block_size):
                self._take(self._fitter.add(piece))

    def close(self) -> SplitFacts:
        """Writes the blocks that are not full; the share of tokens that are real follows from tokens and blocks."""
        self._take(self._fitter.close())
        self._write()
        made = self._writer.close()
        learnt = {"learnt_tokens": self._learnt} if self._masked else {}
        return made.model_copy(update={"documents": self._documents, "blocks": made.samples, **learnt})

    def _take(self, blocks: Iterable[Block]) -> None:
        self._waiting += blocks
        if len(self._waiting) >= BLOCKS_PER_TABLE:
            self._write()

    def _write(self) -> None:
        if not self._waiting:
            return
        columns = {
            "tokens": lists([np.concatenate([one.ids for one in block]) for block in self._waiting]),
            "lengths": lists([[len(one.ids) for one in block] for block in self._waiting]),
        }
        if self._masked:
            masks = [np.concatenate([one.mask for one in block if one.mask is not None]) for block in self._waiting]
            columns["loss_mask"] = lists(masks, np.uint8)
        names = self._writer.schema.names
        self._writer.add(pa.table({name: columns[name] for name in names}))
        self._waiting = []


def _arrays(column: pa.ChunkedArray) -> list[np.ndarray]:
    """The lists of a column as arrays of int64."""
    joined = column.combine_chunks()
    offsets = joined.offsets.to_numpy()
    values = joined.values.to_numpy()
    return [values[start:end].astype(np.int64) for start, end in pairwise(offsets)]
