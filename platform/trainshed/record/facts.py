"""What each small file of storage says, as a type. A file that says something else is damaged, and is never half used.

A later version of the platform may say more: what is not known here is kept as it is. Numbers that stand in tables and
names that become paths are checked; text that only a person reads is any text.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from trainshed.errors import DamagedFile
from trainshed.record.names import (
    Fingerprint,
    Kind,
    ModelFolder,
    ModelName,
    PartName,
    RunId,
    ServedModel,
    Sha256,
    SubmissionId,
    Time,
    Url,
)
from trainshed.record.storage import Storage
from trainshed.spec.document.part import SAID_OF_PATTERNS, SECRET_PATTERNS, Name, SecretName

log = logging.getLogger("trainshed.record")

SHOWN_CHARACTERS = 60


Number: TypeAlias = int | float
"""A figure as it was written: JSON tells 5 from 5.0, and so does a file that is written again."""
Settings: TypeAlias = dict[str, JsonValue]
"""Of a trial, by dotted path."""
RunEnd = Literal["succeeded", "failed", "stopped", "skipped", "budget_reached"]
"""The states of a run that has ended."""


class Facts(BaseModel):
    """The contents of one file, or a part of it."""

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        defer_build=True,  # a verb reads few of the kinds of file
        ser_json_inf_nan="constants",  # a loss may be NaN, and the json module writes and reads that
    )

    def as_json(self) -> dict[str, JsonValue]:
        """What stands in the file: each key that was given or read, as JSON. A key that nobody gave is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class CodeFacts(Facts):
    """The code that a run was submitted with."""

    version: str = "?"
    package_sha256: str = "?"
    git_commit: str | None = None


class JobHead(Facts):
    """The beginning of every job; the rest is the business of `spec`."""

    kind: Kind
    name: Name


class Before(Facts):
    """The earlier end of a run that went on under another submission."""

    submission_id: SubmissionId
    job: dict[str, JsonValue]
    result: dict[str, JsonValue] | None = None


class TrialOrigin(Facts):
    """The trial whose settings a training had."""

    run_id: RunId | None = None
    trial: str | None = None
    settings: Settings = Field(default_factory=dict)


class JobFacts(Facts):
    """job.json."""

    run_id: RunId
    submission_id: SubmissionId
    created_at: Time
    number: int
    job: JobHead
    handed_over_at: Time | None = None
    file: str = ""
    code: CodeFacts = CodeFacts()
    trial: TrialOrigin | None = None
    """Of a training that says from_best."""
    before: tuple[Before, ...] = ()


class EndFacts(Facts):
    """result.json of any kind of run; `record.results` says what it holds besides where the run came to something."""

    state: RunEnd
    ended_at: Time | None = None
    cause: str | None = None
    log: str | None = None
    step: int | None = None
    checkpoint: str | None = None


class VersionFacts(Facts):
    """models/NAME/versions/N.json."""

    name: ModelName
    run_id: RunId
    model: ModelFolder
    fingerprint: Fingerprint
    model_sha256: str | None = None
    metrics: dict[str, Number | None]
    created_at: Time


class AliasFacts(Facts):
    """models/NAME/aliases/ALIAS.json."""

    version: Annotated[int, Field(ge=1)]


class EndpointFacts(Facts):
    """endpoints/NAME.json."""

    name: Name
    url: Url
    model: ServedModel
    model_run: RunId | None = None
    run_id: RunId
    fingerprint: Fingerprint | None = None
    auth: Annotated[tuple[SecretName, ...], Field(min_length=1)]
    replicas: dict[str, JsonValue] = Field(default_factory=dict)
    deployed_at: Time


class PartFacts(Facts):
    """One worker's file of a checkpoint."""

    sha256: Sha256
    bytes: int | None = None


class CheckpointFacts(Facts):
    """manifest.json of a checkpoint: how far the training was, what was measured there, and the workers' files."""

    step: Annotated[int, Field(ge=0)]
    order_hash: str | None = None
    left_out: tuple[int, ...] = ()
    held_out: tuple[Number, ...] = ()
    metrics: dict[str, JsonValue]
    workers: int | None = None
    files: dict[PartName, PartFacts]

    def measured(self, metric: str) -> float | None:
        """A figure that compares with others; None where there is none."""
        value = self.metrics.get(metric)
        return float(value) if isinstance(value, int | float) and is_measured(value) else None


class SpentFacts(Facts):
    """spent.json of a sweep."""

    wall_s: float = 0.0
    device_s: float = 0.0


FactsT = TypeVar("FactsT", bound=BaseModel)
ReadT = TypeVar("ReadT")
OtherT = TypeVar("OtherT")


def read_facts(storage: Storage, relative: str, kind: type[FactsT]) -> FactsT | None:
    """What a JSON file says; None where there is no file.

    Raises:
        DamagedFile: it is not JSON, or says something else.
    """
    found = storage.read_json(relative)
    return None if found is None else parse_facts(found, kind, storage.address(relative))


def parse_facts(value: Any, kind: type[FactsT], place: str) -> FactsT:
    """JSON as the type it should be.

    Raises:
        DamagedFile: it is another; the message begins with `place` and names the first key that is wrong.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise DamagedFile(f"{place}: {said_of(error)}") from None


def said_of(error: ValidationError) -> str:
    """The first fault in one line: the key, what is wrong, what stands there."""
    detail = error.errors(include_url=False, include_context=True)[0]
    key = ".".join(map(str, detail["loc"]))
    match detail["type"]:
        case "missing":
            message = "missing"
        case "string_pattern_mismatch":
            pattern = detail["ctx"]["pattern"]
            message = SAID_OF_PATTERNS[pattern]
            if pattern not in SECRET_PATTERNS:  # what stands there may be the secret itself
                message += f": {_short(detail['input'])}"
        case _:
            message = f"{detail['msg'].removeprefix('Value error, ')}: {_short(detail['input'])}"
    return f"{key}: {message}" if key else message


def passed_over(error: Exception) -> None:
    """Says that something in storage is left out, and why, in one line; the cli prints what is logged here."""
    log.warning("%s", error)


def what_is_whole(read: Callable[[], ReadT], otherwise: OtherT) -> ReadT | OtherT:
    """What `read` gives; where a file is damaged that is said, and `otherwise` stands in its place."""
    try:
        return read()
    except BrokenPipeError:  # of a terminal that `read` prints to; no storage has one
        raise
    except (DamagedFile, OSError) as error:
        passed_over(error)
        return otherwise


def is_measured(value: Any) -> bool:
    """Whether a metric compares with others: some are NaN, such as the area under a curve of one class alone."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."
