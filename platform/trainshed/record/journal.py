"""Files that grow by one line: events, metrics, logs. One process writes each.

A local file is appended to. An object store cannot append, so there the whole file is written again, at most every
`REWRITE_S` seconds and at `close`. A disk that is full for a while, or a store that does not answer, costs no line and
no run: what could not be written is held, and goes with the next line.
"""

from __future__ import annotations

import errno
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from trainshed.record.storage import Storage

log = logging.getLogger("trainshed.record")

REWRITE_S = 5.0
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Journal:
    """Appends lines to one file under a storage root; keeps what an earlier process wrote."""

    def __init__(self, storage: Storage, relative: str) -> None:
        self._storage = storage
        self._relative = relative
        self._kept = b"" if storage.is_local or not storage.exists(relative) else storage.read(relative)
        self._held = b""
        self._written_at = 0.0
        target = storage.path(relative)
        if storage.is_local:
            storage.fs.create_dir(target.rsplit("/", 1)[0], recursive=True)
        self._file = open(target, "ab", buffering=0) if storage.is_local else None  # noqa: SIM115 - closed by close()

    def line(self, text: str) -> None:
        """Appends one line, or holds it while there is no room for it."""
        self._held += text.encode("utf-8", "replace") + b"\n"
        if self._file is None and time.monotonic() - self._written_at <= REWRITE_S:
            return
        try:
            self._write()
        except OSError as error:
            if self._file is not None and error.errno not in NO_ROOM:
                raise

    def json(self, value: Mapping[str, object]) -> None:
        """Appends one JSON object as a line."""
        self.line(json.dumps(value, default=float))

    def close(self) -> None:
        """Writes what is still held back.

        Raises:
            OSError: there is no room for it now either.
        """
        try:
            if self._held:
                self._write()
        finally:
            if self._file is not None:
                self._file.close()

    def _write(self) -> None:
        if self._file is None:
            self._written_at = time.monotonic()
            self._storage.write(self._relative, self._kept + self._held)
            self._kept = self._kept + self._held
            self._held = b""
        else:
            while self._held:
                self._held = self._held[self._file.write(self._held) or 0 :]


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
    """The JSON objects of a journal; a half-written last line is left out; empty where there is no file.

    Other lines that are no objects are left out too, and that is said in one line.
    """
    if not storage.exists(relative):
        return []
    content = storage.read(relative)
    rows = parse_lines(content)
    lines = sum(bool(line.strip()) for line in content.rpartition(b"\n")[0].split(b"\n"))
    if len(rows) < lines:
        log.warning(
            "%s: %d of %d lines are damaged, they are left out", storage.address(relative), lines - len(rows), lines
        )
    return rows


def read_steps(storage: Storage, relative: str) -> list[dict[str, Any]]:
    """Reads a journal as `read_lines` does, where each row names the optimizer step after which it was taken."""
    return of_steps(read_lines(storage, relative))


def of_steps(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that name their step."""
    return [row for row in rows if type(row.get("step")) is int]


def parse_lines(content: bytes) -> list[dict[str, Any]]:
    """The JSON objects of a piece of a journal; half a line at either end is left out."""
    rows = []
    for line in content.split(b"\n"):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
