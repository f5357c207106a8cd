"""One shard: an Arrow IPC file with a single batch of rows, written whole and read by memory map."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa

from trainshed.errors import PlatformError
from trainshed.record.data_manifest import ShardFacts
from trainshed.record.storage import Storage


def write_shard(storage: Storage, folder: str, name: str, table: pa.Table) -> ShardFacts:
    """Writes a table; its entry in the manifest."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks(), max_chunksize=max(1, table.num_rows))
    content = sink.getvalue().to_pybytes()
    storage.write(f"{folder}/{name}", content)
    digest = hashlib.sha256(content).hexdigest()
    return ShardFacts(file=name, samples=table.num_rows, bytes=len(content), sha256=digest)


def map_shard(path: Path) -> pa.Table:
    """The table of a shard, its columns memory-mapped.

    Raises:
        PlatformError: no shard there, or a damaged one.
    """
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise PlatformError(f"{path}: not a readable shard: {error}; run the prepare job again") from None
