"""Reading on in a metrics.jsonl that grows, and now and then is taken back to a checkpoint. Bounded memory.

Knows offsets and steps; does not know which rows will stay.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from trainshed.record.metric_rows import MetricRow
from trainshed.record.storage import Storage

WINDOW_BYTES = 4 << 20
"""Read at once at most: some ten thousand rows."""


@dataclass(frozen=True)
class Window:
    """Rows that follow those that are done with."""

    rows: tuple[MetricRow, ...]
    full: bool
    """Whether there may be more of them in the file."""
    anew: bool
    """Whether the file has changed before them, so that they are from its beginning."""


class Tail:
    """The rows of a file after a place; what lies before the place is done with, and not read again."""

    def __init__(self, storage: Storage, relative: str) -> None:
        self._storage = storage
        self._relative = relative
        self._start = 0
        self._before = b""
        """The line that ends at the place: where it is another, what lies before the place has changed."""
        self._read: list[tuple[int, int, bytes]] = []

    def read(self) -> Window:
        """The rows after the place, as many as fit into a window."""
        found = self._after_the_place()
        anew = found is None
        if found is None:
            self._start = 0
            self._before = b""
            found = self._bytes(0, WINDOW_BYTES)
        rows = []
        self._read = []
        offset = self._start
        for line in found.splitlines(keepends=True):
            offset += len(line)
            row = _row(line)
            if row is not None:
                rows.append(row)
                self._read.append((row.step, offset, line))
        return Window(tuple(rows), full=len(found) >= WINDOW_BYTES, anew=anew)

    def done_with(self, step: int) -> None:
        """Moves the place behind the last row up to this step that was read."""
        for number, end, line in self._read:
            if number <= step:
                self._start = end
                self._before = line

    def _after_the_place(self) -> bytes | None:
        """None where the line before the place is another than it was."""
        length = len(self._before)
        found = self._bytes(self._start - length, WINDOW_BYTES + length)
        return found[length:] if found.startswith(self._before) else None

    def _bytes(self, start: int, length: int) -> bytes:
        try:
            return self._storage.read_part(self._relative, start, length)
        except FileNotFoundError:
            return b""


def _row(line: bytes) -> MetricRow | None:
    """None of a line that is damaged, or not yet whole."""
    if not line.endswith(b"\n"):
        return None
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or type(values.get("step")) is not int:
        return None
    return MetricRow.of(values)
