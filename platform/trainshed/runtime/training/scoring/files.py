"""What a pass has measured so far: one file for each chunk of a split's samples, written whole, in order.

A worker group that is started again goes on behind the last file; numbers of samples do not depend on the workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from trainshed.errors import DamagedFile
from trainshed.record.facts import said_of
from trainshed.record.storage import Storage
from trainshed.runtime.shards.files import map_shard, write_shard

FOLDER = "scores"
ANSWERS = "answers"
CHUNK = 512
"""Samples in a file."""

Columns = Mapping[str, np.ndarray[Any, Any]]
"""By name: float32 `(samples,)` or `(samples, figures)`."""


def chunks_of(samples: int) -> int:
    """How many files a split of so many samples gets."""
    return -(-samples // CHUNK)


def is_there(storage: Storage, folder: str, split: str, chunk: int) -> bool:
    """Whether a chunk has been measured."""
    return storage.exists(f"{folder}/{FOLDER}/{_name(split, chunk)}")


def write(storage: Storage, folder: str, split: str, chunk: int, columns: Columns) -> None:
    """Writes down a chunk's figures."""
    table = pa.table({name: _column(values) for name, values in columns.items()})
    write_shard(storage, f"{folder}/{FOLDER}", _name(split, chunk), table)


def read(storage: Storage, folder: str, split: str, samples: int, copy: Path) -> pa.Table:
    """The figures of a whole split, in the order of its samples. `copy` is a folder for files of another machine.

    Raises:
        PlatformError: a file is missing or damaged.
    """
    place = storage.download(f"{folder}/{FOLDER}", copy)
    return pa.concat_tables([map_shard(place / _name(split, chunk)) for chunk in range(chunks_of(samples))])


def answers_at(folder: str, start: int) -> str:
    """Where the answers of a batch lie that begins with this sample."""
    return f"{folder}/{ANSWERS}/{start:06d}.json"


def read_answers(storage: Storage, folder: str) -> list[dict[str, str]]:
    """What was generated, in the order of the samples.

    Raises:
        PlatformError: a file is not what the workers write.
    """
    found: list[dict[str, str]] = []
    for name in sorted(storage.names(f"{folder}/{ANSWERS}")):
        place = f"{folder}/{ANSWERS}/{name}"
        try:
            found += TypeAdapter(list[dict[str, str]]).validate_python(storage.read_json(place))
        except ValidationError as error:
            raise DamagedFile(f"{storage.address(place)}: {said_of(error)}") from None
    return found


def _name(split: str, chunk: int) -> str:
    return f"{split}-{chunk:05d}.arrow"


def _column(values: np.ndarray[Any, Any]) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values).reshape(-1), pa.float32())
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
