"""notes.jsonl: the events of a training beside its steps, as worker 0 writes them for the driver to say."""

from __future__ import annotations

from collections.abc import Iterator

from trainshed.record.events import Event, event_of, facts_of
from trainshed.record.journal import Journal, read_lines
from trainshed.record.run import now
from trainshed.record.storage import Storage

FILE = "notes.jsonl"


class Notes:
    """The sink of worker 0."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._journal = Journal(storage, f"{folder}/{FILE}")

    def __call__(self, event: Event) -> None:
        facts = facts_of(event)
        self._journal.json({"event": facts.pop("event"), "time": now(), **facts})

    def close(self) -> None:
        """Writes what is held back."""
        self._journal.close()


class NotesReader:
    """Reads on from where it was; begins at the end of what is there."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self._file = f"{folder}/{FILE}"
        self._read = len(read_lines(storage, self._file))

    def new(self) -> Iterator[Event]:
        """What was noted since the last call."""
        for line in read_lines(self._storage, self._file)[self._read :]:
            self._read += 1
            event = event_of({key: line[key] for key in line if key != "time"})
            if event is not None:
                yield event
