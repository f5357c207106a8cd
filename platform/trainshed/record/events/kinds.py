"""The events of a running job: a closed union of frozen classes, with the names and keys that they are written under.

What a later version says beside is kept; an event that is not known here is an `Other`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from trainshed.record.events.tracking import TrackerAnswers, TrackerBegan, TrackerLeft, TrackerSilent
from trainshed.record.facts import Facts, RunEnd

Number: TypeAlias = int | float


class Begin(Facts):
    """A document of the submission begins, or goes on."""

    event: Literal["begin"] = "begin"
    kind: str
    name: str
    again: bool = False


class Log(Facts):
    """A log line. A detail goes to the log file only."""

    event: Literal["log"] = "log"
    message: str
    detail: bool = False


class Progress(Facts):
    """The progress of a stage."""

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


class WorkersStarted(Facts):
    """All workers of a training have started, and its function runs on each."""

    event: Literal["workers_started"] = "workers_started"
    workers: int
    seconds: float
    processes: tuple[int, ...] = ()


class WorkersEnded(Facts):
    """The workers of a training ended by a fault; they start again, or the training ends with it."""

    event: Literal["fault"] = "fault"
    step: int
    """The most optimizer steps that any of them had done."""
    cause: str
    again: bool
    restart: int | None = None
    """How many starts in a row have been without a new step; None where this one does not count."""
    limit: int | None = None
    hopeless: bool = False
    """Whether another start could not help."""


class WorkerKilled(Facts):
    """A worker, or a trial of one worker, was silent or stood still, and was killed."""

    event: Literal["worker_killed"] = "worker_killed"
    who: str
    """`worker 1`, or the name of a trial."""
    cause: str
    outcome: str
    """What became of its process."""


class RoomAwaited(Facts):
    """The cluster has no room for the minimum number of workers of a training."""

    event: Literal["room_awaited"] = "room_awaited"
    room: int
    needed: int


class RoomFound(Facts):
    """The cluster has room for more workers: the present ones save, and more start."""

    event: Literal["room_found"] = "room_found"
    room: int
    workers: int


class StopAsked(Facts):
    """Somebody asked a training to stop: its workers save at the next step."""

    event: Literal["stop_asked"] = "stop_asked"


class HeldOutMetrics(Facts):
    """The figures of a training that has ended, on samples that it did not learn from."""

    event: Literal["metrics"] = "metrics"
    split: str
    figures: dict[str, float | None]
    unigram_entropy_nats: float | None = None
    """What a model of single tokens could reach on the same samples."""


class Judged(Facts):
    """What an evaluation found, and the verdict of its gate."""

    event: Literal["judged"] = "judged"
    model: str
    split: str
    samples: int
    figures: dict[str, tuple[float, tuple[float, float] | None, float | None]]
    """Value, interval, and the value of `against`."""
    against: str | None = None
    overlapping: float | None = None
    """The share of samples that share a run of tokens with the training set; None where nothing was compared."""
    passed: bool | None = None
    """None without a gate."""
    reasons: tuple[str, ...] = ()


class Registered(Facts):
    """A model is a version of the registry."""

    event: Literal["registered"] = "registered"
    version: str
    """`NAME@N`."""
    remark: str = ""


class End(Facts):
    """A document of the submission has ended."""

    event: Literal["end"] = "end"
    state: RunEnd
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
    | WorkersStarted
    | WorkersEnded
    | WorkerKilled
    | RoomAwaited
    | RoomFound
    | StopAsked
    | HeldOutMetrics
    | Judged
    | Registered
    | TrackerBegan
    | TrackerSilent
    | TrackerAnswers
    | TrackerLeft
    | End
)
Event: TypeAlias = Known | Other

_EVENT: TypeAdapter[Event] = TypeAdapter(
    Annotated[Annotated[Known, Field(discriminator="event")] | Other, Field(union_mode="left_to_right")]
)


def facts_of(event: Event) -> dict[str, Any]:
    """An event's name and what it says, as it is written."""
    return {"event": event.event, **event.model_dump(exclude_unset=True)}


def event_of(facts: Mapping[str, Any]) -> Event | None:
    """What `facts_of` made; None where that is no event."""
    try:
        return _EVENT.validate_python(dict(facts))
    except ValidationError:
        return None
