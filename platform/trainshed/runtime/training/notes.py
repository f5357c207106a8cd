"""What happens to a training beside its steps: a checkpoint was kept, one was refused, the loss broke. notes.jsonl.

Worker 0 writes it; the driver reads on from where it was and makes events of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainshed.record.journal import Journal
from trainshed.record.run import now
from trainshed.record.storage import Storage

FILE = "notes.jsonl"

Told = Callable[[str, dict[str, Any]], None]
"""Takes an event's name and its facts."""


class Notes:
    """Appends `{"event": ..., "time": ..., facts}`; call it with an event's name and its facts."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._journal = Journal(storage, f"{folder}/{FILE}")

    def __call__(self, event: str, facts: dict[str, Any]) -> None:
        self._journal.json({"event": event, "time": now(), **facts})

    def close(self) -> None:
        """Writes what is held back."""
        self._journal.close()


def told_to_nobody(event: str, facts: dict[str, Any]) -> None:
    """For workers other than the first: what there is to tell is the same on all of them."""
