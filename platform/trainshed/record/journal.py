"""Files that grow by one line: events, metrics, logs. One process writes each.

A local file is appended to. An object store cannot append, so there the whole file is written again, at most every
`REWRITE_S` seconds and at `close`.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from trainshed.record.storage import Storage

REWRITE_S = 5.0


class Journal:
    """Appends lines to one file under a storage root; keeps what an earlier process wrote."""

    def __init__(self, storage: Storage, relative: str) -> None:
        self._storage = storage
        self._relative = relative
        self._kept = b"" if storage.is_local or not storage.exists(relative) else storage.read(relative)
        self._written_at = 0.0
        target = storage.path(relative)
        if storage.is_local:
            storage.fs.create_dir(target.rsplit("/", 1)[0], recursive=True)
        self._file = open(target, "ab", buffering=0) if storage.is_local else None  # noqa: SIM115 - closed by close()

    def line(self, text: str) -> None:
        """Appends one line."""
        data = text.encode("utf-8", "replace") + b"\n"
        if self._file is not None:
            self._file.write(data)
            return
        self._kept += data
        if time.monotonic() - self._written_at > REWRITE_S:
            self._rewrite()

    def json(self, value: dict[str, Any]) -> None:
        """Appends one JSON object as a line."""
        self.line(json.dumps(value, default=float))

    def close(self) -> None:
        """Writes what is still held back."""
        if self._file is not None:
            self._file.close()
        else:
            self._rewrite()

    def _rewrite(self) -> None:
        self._storage.write(self._relative, self._kept)
        self._written_at = time.monotonic()


class JournalHandler(logging.Handler):
    """Python logging into a journal: the log of one worker."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Appends one formatted record."""
        self._journal.line(self.format(record))


def read_lines(storage: Storage, relative: str) -> list[dict[str, Any]]:
    """The JSON objects of a journal; a half-written last line is left out; empty where there is no file."""
    if not storage.exists(relative):
        return []
    rows = []
    for line in storage.read(relative).split(b"\n"):
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows
