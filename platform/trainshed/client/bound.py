"""A submission whose references are answered: what each document builds on, found once and from then on only read.

Closed and frozen. `bind` makes it; checks of fit, the plan and what follows take it and look nothing up again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trainshed.client.outline import Outline
from trainshed.record.data_manifest import DataManifest
from trainshed.record.registry import ModelVersion
from trainshed.record.results import InitOrigin, PrepareResult, SweepResult, TrainResult, WeightsOrigin
from trainshed.record.run import Record
from trainshed.record.trial_facts import BestTrial
from trainshed.spec.evaluation.evaluate import EvaluateJob
from trainshed.spec.fitting import DataForm
from trainshed.spec.load import LoadedJob
from trainshed.spec.serving.serve import ServeJob
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.reference import ReferenceJob
from trainshed.spec.training.train import Training, TrainJob


@dataclass(frozen=True)
class PlannedData:
    """Data that a document of the same submission will make."""

    document: LoadedJob
    form: DataForm


@dataclass(frozen=True)
class PreparedData:
    """Data that is there, and the run that made it."""

    run: Record
    outcome: PrepareResult
    form: DataForm

    @property
    def manifest(self) -> DataManifest:
        """What manifest.json of the data says."""
        return self.outcome.manifest


Data = PlannedData | PreparedData


@dataclass(frozen=True)
class PlannedSweep:
    """A sweep of the same submission."""

    document: LoadedJob
    job: TuneJob


@dataclass(frozen=True)
class EarlierSweep:
    """A sweep that has ended, for a search to learn from."""

    run: Record
    outcome: SweepResult
    unlike: str | None
    """Why its figures say nothing of this search; None where they do."""


@dataclass(frozen=True)
class FoundBest:
    """The best trial of a sweep that has ended."""

    run: Record
    trial: BestTrial
    training: Training
    constraints: tuple[str, ...]
    """Of that sweep: settings that are laid over the trial's must keep them."""


@dataclass(frozen=True)
class PlannedModel:
    """What a training or a sweep of the same submission will export."""

    document: LoadedJob
    training: Training | None = field(default=None, compare=False)
    """What makes it; of a sweep's model the training that its trials start from."""


@dataclass(frozen=True)
class TrainedModel:
    """The export of a training that has ended."""

    run: Record
    outcome: TrainResult


Model = PlannedModel | TrainedModel | ModelVersion


@dataclass(frozen=True)
class FoundWeights:
    """A model of ours that is there, for a training to begin with."""

    origin: WeightsOrigin
    run: Record
    """Any run of the storage that it lies in: the one that exported it."""
    outline: Outline


@dataclass(frozen=True)
class FoundCheckpoint:
    """A checkpoint of another training, for a training to begin with its weights."""

    origin: InitOrigin
    run: Record


Beginning = PlannedModel | FoundWeights | FoundCheckpoint
"""What a training begins with that another one leaves: of a document before it its model or its checkpoint."""


@dataclass(frozen=True)
class BoundPrepare:
    """A document that prepares data; it builds on no other."""

    loaded: LoadedJob


@dataclass(frozen=True)
class BoundSweep:
    """A document that searches, with each of its data sets and earlier sweeps by reference."""

    loaded: LoadedJob
    job: TuneJob
    data: Mapping[str, Data]
    learns_from: Mapping[str, PlannedSweep | EarlierSweep]
    """Empty where the sweep has begun before: it has learnt what it will."""
    weights: Mapping[str, Beginning]
    """What its trials may begin with that other trainings have left, by reference."""


@dataclass(frozen=True)
class BoundTraining:
    """A document that trains."""

    loaded: LoadedJob
    full: TrainJob
    """The document's own job; where it says `from_best`, the best trial's training with the document's fields over it.
    As long as that sweep has not run, the training that its trials start from stands for the best one's."""
    data: Data
    best: PlannedSweep | FoundBest | None
    """What `from_best` names."""
    weights: Beginning | None
    """What it begins with, where another training has left it."""


@dataclass(frozen=True)
class BoundServing:
    """A document that serves a model."""

    loaded: LoadedJob
    job: ServeJob
    model: Model
    refusal: str | None = None
    """Why its gate does not let the model pass."""


@dataclass(frozen=True)
class EvaluatedModel:
    """A model that is evaluated: the one that a document names, or the one that it is compared with."""

    key: str
    """Where the document names it."""
    reference: str
    found: PlannedModel | FoundWeights
    trained: Training | None
    """What makes it, or has made it; None where a sweep that is yet to run decides."""


@dataclass(frozen=True)
class BoundEvaluation:
    """A document that evaluates a model."""

    loaded: LoadedJob
    job: EvaluateJob
    data: Data
    model: EvaluatedModel
    against: EvaluatedModel | None

    @property
    def models(self) -> tuple[EvaluatedModel, ...]:
        """Both."""
        return (self.model,) if self.against is None else (self.model, self.against)


@dataclass(frozen=True)
class BoundReference:
    """A document that measures data with a model."""

    loaded: LoadedJob
    job: ReferenceJob
    data: Data
    weights: Beginning | None
    """The model, where a training has left it."""

    @property
    def training(self) -> Training:
        """See `ReferenceJob`."""
        return self.job.training


BoundJob = BoundPrepare | BoundReference | BoundSweep | BoundTraining | BoundEvaluation | BoundServing


@dataclass(frozen=True)
class Bound:
    """The documents of one submission in order."""

    jobs: tuple[BoundJob, ...]

    @property
    def loaded(self) -> tuple[LoadedJob, ...]:
        """The documents as they were loaded."""
        return tuple(one.loaded for one in self.jobs)
