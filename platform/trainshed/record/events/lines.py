"""How events travel: a numbered line of JSON, and on the laptop's side the first and last word of a submission."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trainshed.record.events.kinds import Event, event_of, facts_of

MARK = "@@platform "


@dataclass(frozen=True)
class Line:
    """An event of a submission, numbered: `seq` counts 1, 2, 3... with a gap where a driver was started again."""

    seq: int
    time: str
    run: str
    event: Event

    def facts(self) -> dict[str, Any]:
        """What stands in the line."""
        return {"seq": self.seq, "time": self.time, "run": self.run, **facts_of(self.event)}


@dataclass(frozen=True)
class Submitted:
    """The laptop's own first word: the job was handed over."""

    submission_id: str
    runs: tuple[str, ...]
    address: str

    def facts(self) -> dict[str, Any]:
        """What stands in the line."""
        said = {"submission_id": self.submission_id, "runs": list(self.runs), "address": self.address}
        return {"event": "submitted", **said}


@dataclass(frozen=True)
class JobEnd:
    """The laptop's own last word: what Ray says of the job."""

    state: str
    message: str

    def facts(self) -> dict[str, Any]:
        """What stands in the line."""
        return {"event": "job_end", "state": self.state, "message": self.message}


def encode(line: Line) -> str:
    """The line of a driver's log, without its end."""
    return MARK + json.dumps(line.facts(), default=float)


def decode(text: str) -> Iterator[Line]:
    """The events among the lines of `text`; anything else, and a line half written, is passed over.

    A mark counts wherever it stands in its line: a progress bar on stderr leaves its own line unfinished before ours.
    """
    for line in text.split("\n"):
        if (found := _in_line(line)) is not None:
            yield found


def _in_line(line: str) -> Line | None:
    start = line.find(MARK)
    while start >= 0:
        try:
            facts, _ = _DECODER.raw_decode(line, start + len(MARK))
        except ValueError:
            facts = None
        if isinstance(facts, dict) and (found := _line_of(facts)) is not None:
            return found
        start = line.find(MARK, start + 1)
    return None


def _line_of(facts: dict[str, Any]) -> Line | None:
    seq = facts.pop("seq", None)
    time = facts.pop("time", "")
    run = facts.pop("run", "")
    if type(seq) is not int or not isinstance(time, str) or not isinstance(run, str):
        return None
    event = event_of(facts)
    return None if event is None else Line(seq, time, run, event)


_DECODER = json.JSONDecoder()
