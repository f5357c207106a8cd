"""metrics.jsonl of one training: a row for each optimizer step that counts, in order, none twice.

Worker 0 writes it. After a restart the rows past the checkpoint are taken back: those steps are done again.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from trainshed.record.journal import Journal, read_steps
from trainshed.record.storage import Storage


class Rows(Protocol):
    """Where the rows of a training go."""

    def rewind(self, step: int) -> None:
        """Keep the rows of steps 0 to `step`, of none where that is -1."""

    def row(self, **values: Any) -> None:
        """Append one row."""


class NoRows:
    """The log of workers other than the first, which writes nothing."""

    def rewind(self, step: int) -> None:
        """Does nothing."""

    def row(self, **values: Any) -> None:
        """Does nothing."""


class MetricLog:
    """Appends rows `{"step": n, ...}`; `rewind` forgets the rows from a step on."""

    def __init__(self, storage: Storage, relative: str) -> None:
        self._storage = storage
        self._relative = relative
        self._journal: Journal | None = None

    def rewind(self, step: int) -> None:
        """Keeps the rows of steps 0 to `step`, of none where that is -1; call it once, before the first row."""
        rows = [row for row in read_steps(self._storage, self._relative) if row["step"] <= step]
        self._storage.write(self._relative, "".join(f"{json.dumps(row)}\n" for row in rows).encode())
        self._journal = Journal(self._storage, self._relative)

    def row(self, **values: Any) -> None:
        """Appends one row."""
        if self._journal is None:
            raise RuntimeError("MetricLog.row before rewind")
        self._journal.json(values)

    def close(self) -> None:
        """Writes what is held back."""
        if self._journal is not None:
            self._journal.close()
