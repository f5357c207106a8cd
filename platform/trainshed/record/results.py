"""What a run that came to something says in result.json, by its kind of job, and what made it, in lineage.json.

Both are written and read through these types. One union: `Result`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue, TypeAdapter, model_validator

from trainshed.record.data_manifest import DataManifest
from trainshed.record.evaluation import EvaluationResult
from trainshed.record.facts import CodeFacts, Facts, Number, TrialOrigin
from trainshed.record.names import DataFolder, ExportName, Fingerprint, ModelFolder, RunId, ServedModel, Sha256, Url
from trainshed.record.trial_facts import BestTrial, TrialResult


class PrepareResult(Facts):
    """Prepared data."""

    data: DataFolder
    address: str = ""
    reused: bool = False
    """Whether the data was there already."""
    manifest: DataManifest


class Used(Facts):
    """What a sweep has used up."""

    hours: float
    device_hours: float
    cost: float | None = None
    """None where nothing says what a device-hour costs."""
    currency: str | None = None


class SweepResult(Facts):
    """A sweep."""

    trials: tuple[TrialResult, ...]
    metric: str = "validation_loss"
    goal: str = "min"
    limit: str | None = None
    """The limit of the budget that ended it, in words."""
    best: BestTrial | None
    """None where a budget ended before any figure."""
    registered: str | None = None
    spent: Used | None = None
    refused: int = 0
    """Draws that could not be a trial."""
    failure: str | None = Field(default=None, exclude=True)
    """Why it failed all the same, as where the best trial could not be registered; it becomes the run's `cause`."""


ADAPTER: ExportName = "adapter"


class AgreementFacts(Facts):
    """How far an export is from what was trained, in the held-out sample where it counts most."""

    samples: int
    """How many were compared."""
    measure: str
    sample: int
    """Its number in the validation split, from 0."""
    trained: float
    exported: float
    difference: float
    tolerance: float


class ExportFacts(Facts):
    """What went out: `model/`, or the adapters by themselves in `adapter/`."""

    dtype: str | None = None
    """The type of its weights; None where it is in files of the user's own."""
    agreement: AgreementFacts | None = None
    """None where the task cannot open its export again, or nothing is held out."""


class TrainResult(Facts):
    """A training."""

    metrics: dict[str, JsonValue]
    """The last ones."""
    unigram_entropy_nats: float | None = None
    """Of its validation data: no model of single tokens has a lower loss."""
    checkpoint: str | None = None
    model: ModelFolder | None = None
    """None where only adapters were exported."""
    registered: str | None = None
    export: dict[ExportName, ExportFacts] = Field(default_factory=dict)
    """By its folder in the run; empty in what older versions wrote."""

    @model_validator(mode="after")
    def _something_was_exported(self) -> TrainResult:
        if self.model is None and ADAPTER not in self.export:
            raise ValueError("model: missing")
        return self

    @property
    def folders(self) -> tuple[str, ...]:
        """Where what it exported lies in the run's folder."""
        return tuple(self.export) or ("model",)


class ServeResult(Facts):
    """An endpoint, as it was when it was deployed."""

    url: Url
    model: ServedModel
    model_run: RunId
    run_id: RunId | None = None
    fingerprint: Fingerprint
    auth: tuple[str, ...] = ()
    """Names of its keys."""
    replicas: dict[str, JsonValue] = Field(default_factory=dict)
    first_answer: str = ""


Result = PrepareResult | SweepResult | TrainResult | EvaluationResult | ServeResult
RESULTS: dict[str, type[Result]] = {
    "prepare": PrepareResult,
    "reference": PrepareResult,
    "tune": SweepResult,
    "train": TrainResult,
    "evaluate": EvaluationResult,
    "serve": ServeResult,
}
"""By the `kind` of the job."""


class DataOrigin(Facts):
    """The prepared data that a training read."""

    run_id: RunId | None = None
    fingerprint: str | None = None
    made_by: str | None = None
    tokenizer_sha256: str | None = None
    files: int | None = None


class WeightsOrigin(Facts):
    """The export that a training began with: a registered version, or what a run left."""

    version: ServedModel | None = None
    """NAME@N, where it was registered."""
    run_id: RunId
    model: ModelFolder
    fingerprint: Fingerprint | None = None
    """Of its lineage."""
    model_sha256: str | None = None


class CheckpointOrigin(Facts):
    """A checkpoint; its folder is relative to the run's."""

    folder: str
    step: Number


class InitOrigin(Facts):
    """The checkpoint of another training whose weights a training began with."""

    run_id: RunId
    init_step: Annotated[int, Field(ge=0)]
    """Optimizer steps of that training which were done."""


Origin = WeightsOrigin | InitOrigin
"""What a training began with that another one has left."""
ORIGIN: TypeAdapter[Origin] = TypeAdapter(Origin)


class Lineage(Facts):
    """lineage.json of a training or a sweep: everything that made its weights, and their hash."""

    run_id: RunId | None = None
    code: CodeFacts = CodeFacts()
    configuration_sha256: str | None = None
    configuration: dict[str, JsonValue] = Field(default_factory=dict)
    data: DataOrigin | None = None
    weights: Origin | None = None
    """What it began with, where another training has left it."""
    trial: TrialOrigin | None = None
    checkpoint: CheckpointOrigin | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    model_sha256: str | None = None
    fingerprint: Sha256 | None = None
    """Of all of the above; see `record.lineage`."""


class EndpointLineage(Facts):
    """lineage.json of an endpoint."""

    endpoint: str
    model: str
    made_by: Lineage
    evaluation: RunId | None = None
    """The evaluation whose gate let the model pass, where the job named one."""
