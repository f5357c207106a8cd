"""What a pass has measured so far: one file for each chunk of a split's samples, written whole, in order.

A worker group that is started again goes on behind the last file; numbers of samples do not depend on the workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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

Columns = Mapping[str, np.ndarray[Any, Any]]
"""By name: float32 `(samples,)` or `(samples, figures)`."""


@dataclass(frozen=True)
class ScoreFiles:
    """The files of one pass, in the folder of its run."""

    storage: Storage
    folder: str
    size: int = CHUNK
    """Samples in each, the last of a split aside."""

    def chunks_of(self, samples: int) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
        """The number of each file of a split of so many samples, and the samples in it."""
        for chunk, start in enumerate(range(0, samples, self.size)):
            yield chunk, np.arange(start, min(start + self.size, samples))

    def is_there(self, split: str, chunk: int) -> bool:
        """Whether a chunk has been measured."""
        return self.storage.exists(f"{self._place}/{_name(split, chunk)}")

    def write(self, split: str, chunk: int, columns: Columns) -> None:
        """Writes down a chunk's figures."""
        table = pa.table({name: _column(values) for name, values in columns.items()})
        write_shard(self.storage, self._place, _name(split, chunk), table)

    def read(self, split: str, samples: int, copy: Path) -> pa.Table:
        """The figures of a whole split, in the order of its samples; `copy` is for files of another machine.

        Raises:
            PlatformError: a file is missing or damaged.
        """
        here = self.storage.download(self._place, copy)
        return pa.concat_tables([map_shard(here / _name(split, chunk)) for chunk, _ in self.chunks_of(samples)])

    def delete(self) -> None:
        """Takes them away, once they are a part of what they were measured for."""
        self.storage.delete(self._place)

    @property
    def _place(self) -> str:
        return f"{self.folder}/{FOLDER}"


@dataclass(frozen=True)
class AnswerFiles:
    """The answers that a model generated in one pass, batch by batch, in the folder of its run."""

    storage: Storage
    folder: str

    def is_there(self, start: int) -> bool:
        """Whether the batch that begins with this sample is answered."""
        return self.storage.exists(self.place(start))

    def write(self, start: int, answers: list[dict[str, str]]) -> None:
        """Writes down a batch."""
        self.storage.write_json(self.place(start), answers)

    def read(self) -> list[dict[str, str]]:
        """Every answer, in the order of the samples.

        Raises:
            PlatformError: a file is not what the workers write.
        """
        found: list[dict[str, str]] = []
        for name in sorted(self.storage.names(f"{self.folder}/{ANSWERS}")):
            place = f"{self.folder}/{ANSWERS}/{name}"
            try:
                found += TypeAdapter(list[dict[str, str]]).validate_python(self.storage.read_json(place))
            except ValidationError as error:
                raise DamagedFile(f"{self.storage.address(place)}: {said_of(error)}") from None
        return found

    def delete(self) -> None:
        """Takes them away."""
        self.storage.delete(f"{self.folder}/{ANSWERS}")

    def place(self, start: int) -> str:
        """Where a batch lies."""
        return f"{self.folder}/{ANSWERS}/{start:06d}.json"


def _name(split: str, chunk: int) -> str:
    return f"{split}-{chunk:05d}.arrow"


def _column(values: np.ndarray[Any, Any]) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values).reshape(-1), pa.float32())
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
