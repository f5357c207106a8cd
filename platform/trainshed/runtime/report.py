"""Where a run's events go: to its Record, and as the same lines to the driver's log, where the laptop reads them.

One `Voice` per submission counts the lines, so that a reader can tell a lost one from a late one.
"""

from __future__ import annotations

import itertools
import logging
import threading
from typing import Any

from trainshed.record.events import Event, Line, Log, Progress, describe, encode
from trainshed.record.journal import Journal
from trainshed.record.run import Record, now

LINES_PER_ATTEMPT = 10**9
"""Nobody knows what a driver that was killed had printed last: the next one starts beyond all it can have."""


class Voice:
    """Numbers and prints the lines of one submission; a driver that was started again numbers on, with a gap."""

    def __init__(self, attempt: int = 1) -> None:
        self._numbers = itertools.count((attempt - 1) * LINES_PER_ATTEMPT + 1)
        self._lock = threading.Lock()

    def say(self, run_id: str, event: Event) -> Line:
        """Prints one line and returns it."""
        with self._lock:
            line = Line(next(self._numbers), now(), run_id, event)
            print(encode(line), flush=True)
            return line


class Reporter:
    """The sink of one run: every event goes to its events.jsonl and to the voice of the submission."""

    def __init__(self, record: Record, voice: Voice) -> None:
        self.record = record
        self._voice = voice
        self._events = Journal(record.storage, record.at("events.jsonl"))
        self._log = Journal(record.storage, record.at("logs/driver.log"))
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Something happened: a stage began, a checkpoint was kept, a trial ended."""
        line = self._voice.say(self.record.run_id, event)
        with self._lock:
            self._events.json(line.facts())
        words = event.message if isinstance(event, Log) else describe(event)
        if words is not None and not isinstance(event, Progress):
            self._log.line(f"{line.time} {words}")

    def log(self, message: str, **fields: Any) -> None:
        """One line for a person; it goes to logs/driver.log too."""
        self(Log.model_validate({"message": message, **fields}))

    def progress(self, stage: str, done: float, total: float, **fields: Any) -> None:
        """How far a stage is; a client draws a bar of it."""
        self(Progress.model_validate({"stage": stage, "done": done, "total": total, **fields}))

    def close(self) -> None:
        """Writes what is held back."""
        self._events.close()
        self._log.close()


def quiet_libraries() -> None:
    """Keeps libraries from flooding the log with what a user cannot act on."""
    for name in ("ray.data", "ray.tune", "ray.train", "ray.serve", "deepspeed", "DeepSpeed"):
        logging.getLogger(name).setLevel(logging.WARNING)
