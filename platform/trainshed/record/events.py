"""What a running job says: one closed union of events, written by the cluster and read by whoever looks.

An event is a line of JSON in the run's events.jsonl, and the same line behind `MARK` in the driver's log, where the
laptop finds it among other output. The names of events, and what each says, stand here and nowhere else. What a later
version says beside is kept; an event that is not known here is an `Other`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from trainshed.record.facts import Facts

MARK = "@@platform "

Number: TypeAlias = int | float


class Begin(Facts):
    """A document of the submission begins, or goes on."""

    event: Literal["begin"] = "begin"
    kind: str
    name: str
    again: bool = False


class Log(Facts):
    """One line for a person. A detail is in the log only."""

    event: Literal["log"] = "log"
    message: str
    detail: bool = False


class Progress(Facts):
    """How far a stage is."""

    event: Literal["progress"] = "progress"
    stage: str
    done: Number
    total: Number
    what: str | None = None
    train_loss: float | None = None
    validation_loss: float | None = None
    learning_rate: float | None = None
    tokens_per_s: float | None = None
    samples_per_s: float | None = None


class TrialMoved(Facts):
    """A trial of a sweep has a figure, or has ended. The metric stands beside the other keys, under its own name."""

    event: Literal["trial"] = "trial"
    trial: str
    state: str
    settings: dict[str, Any] = Field(default_factory=dict)
    step: int = 0
    cause: str | None = None

    @property
    def figures(self) -> Mapping[str, Any]:
        """What stands beside the keys of this class."""
        return self.__pydantic_extra__ or {}


class CheckpointKept(Facts):
    """A checkpoint is whole on storage."""

    event: Literal["checkpoint"] = "checkpoint"
    step: int
    seconds: float


class CheckpointFailed(Facts):
    """A checkpoint was not written; the training goes on."""

    event: Literal["checkpoint_failed"] = "checkpoint_failed"
    step: int
    cause: str


class CheckpointRefused(Facts):
    """A checkpoint is damaged: an older one is looked for."""

    event: Literal["checkpoint_refused"] = "checkpoint_refused"
    step: int
    cause: str


class Resumed(Facts):
    """A training goes on from a checkpoint."""

    event: Literal["resumed"] = "resumed"
    step: int
    checkpoint: str


class MemoryMeasured(Facts):
    """Bytes of the states of worker 0 after its first step, beside what the plan said."""

    event: Literal["memory"] = "memory"
    predicted_bytes: Number
    measured_bytes: Number
    ratio: float
    measured: dict[str, Any] = Field(default_factory=dict)
    predicted: dict[str, Any] = Field(default_factory=dict)
    peak_mb: float | None = None


class StoppedEarly(Facts):
    """A training ended because its validation loss fell no longer."""

    event: Literal["stopped_early"] = "stopped_early"
    step: int
    best: float


class ExportsBest(Facts):
    """The weights of an earlier step are exported."""

    event: Literal["exports_best"] = "exports_best"
    step: int
    last_step: int


class RolledBack(Facts):
    """A step diverged: the training goes back to a checkpoint and leaves the samples out. JSON has no NaN: text."""

    event: Literal["rolled_back"] = "rolled_back"
    verdict: str
    step: int
    loss: str
    grad_norm: str | None = None
    back_to: int
    samples: tuple[int, ...] = ()


class End(Facts):
    """A document of the submission has ended."""

    event: Literal["end"] = "end"
    state: str
    cause: str | None = None
    log: str | None = None
    url: str | None = None
    model: str | None = None
    registered: str | None = None
    reused: bool | None = None


class Other(Facts):
    """An event of a later version."""

    event: str = ""


Known: TypeAlias = (
    Begin
    | Log
    | Progress
    | TrialMoved
    | CheckpointKept
    | CheckpointFailed
    | CheckpointRefused
    | Resumed
    | MemoryMeasured
    | StoppedEarly
    | ExportsBest
    | RolledBack
    | End
)
Event: TypeAlias = Known | Other

_EVENT: TypeAdapter[Event] = TypeAdapter(
    Annotated[Annotated[Known, Field(discriminator="event")] | Other, Field(union_mode="left_to_right")]
)


class Sink(Protocol):
    """Takes events: a run's reporter, worker 0's notes, or nobody."""

    def __call__(self, event: Event, /) -> None:
        """Something happened."""


def to_nobody(_event: Event) -> None:
    """For workers other than the first: what there is to tell is the same on all of them."""


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


def facts_of(event: Event) -> dict[str, Any]:
    """An event's name and what it says, as it is written."""
    return {"event": event.event, **event.model_dump(exclude_unset=True)}


def event_of(facts: Mapping[str, Any]) -> Event | None:
    """What `facts_of` made; None where that is no event."""
    try:
        return _EVENT.validate_python(dict(facts))
    except ValidationError:
        return None


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
    seq, time, run = facts.pop("seq", None), facts.pop("time", ""), facts.pop("run", "")
    if type(seq) is not int or not isinstance(time, str) or not isinstance(run, str):
        return None
    event = event_of(facts)
    return None if event is None else Line(seq, time, run, event)


_DECODER = json.JSONDecoder()
