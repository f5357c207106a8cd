"""What each reference of a submission means: a document before it, or what storage holds. Each is looked up once.

Knows job documents and the index of storage. Does not know whether what it finds fits: `check` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from trainshed.client.bound import (
    Beginning,
    Data,
    EarlierSweep,
    EvaluatedModel,
    FoundBest,
    FoundCheckpoint,
    FoundWeights,
    Model,
    PlannedData,
    PlannedModel,
    PlannedSweep,
    PreparedData,
    TrainedModel,
)
from trainshed.client.outline import outline_of
from trainshed.errors import DamagedFile, PlatformError, SpecError, UsageError
from trainshed.record.built_on import prepared, trained_by
from trainshed.record.data_form import form_of_manifest
from trainshed.record.evaluations import passed
from trainshed.record.facts import parse_facts
from trainshed.record.index import Finished, Index
from trainshed.record.learning import why_nothing_is_taken
from trainshed.record.registry import ModelVersion
from trainshed.record.results import InitOrigin, Origin, PrepareResult, SweepResult, TrainResult, WeightsOrigin
from trainshed.record.run import Record
from trainshed.record.weights import Origins, kept, of_checkpoint, of_run, of_version
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.evaluation.evaluate import EvaluateJob
from trainshed.spec.fitting import form_of
from trainshed.spec.job import Reference, versions_made, weights_key
from trainshed.spec.load import LoadedJob, answers
from trainshed.spec.serving.serve import ServeJob
from trainshed.spec.sweep.constraints import recorded
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.reference import ReferenceJob
from trainshed.spec.training.train import Training, TrainJob


@dataclass(frozen=True)
class Begun:
    """A document that has begun before and goes on, with the runs that its references to data meant then."""

    loaded: LoadedJob
    data: Mapping[str, Record]
    weights: Origins = field(default_factory=dict)
    """The models of ours that it began with, by reference."""


@dataclass(frozen=True)
class Answers:
    """Resolved references, each looked up once."""

    loaded: tuple[LoadedJob, ...]
    index: Index
    begun: Begun | None
    trainings: dict[str, Training] = field(default_factory=dict)
    """Of the documents that are bound already, by their names."""
    _runs: dict[tuple[str, str], Finished] = field(default_factory=dict)
    _versions: dict[str, ModelVersion] = field(default_factory=dict)
    _weights: dict[str, FoundWeights] = field(default_factory=dict)

    def look_up(self, reference: Reference) -> None:
        """Finds what storage has for a reference. Raises UsageError or DamagedFile where that is nothing."""
        if reference.begins == "model":
            self._found_weights(reference.target)
        elif reference.begins == "checkpoint":
            self._found_checkpoint(reference.target)
        elif reference.wants == "evaluate":
            self.index.named(reference.target.removeprefix("run://"), "evaluate")
        elif reference.target.startswith("run://"):
            self._finished(reference.target, reference.wants)
        else:
            self._version(reference.target)

    def data(self, reference: str) -> Data:
        """The document that makes a data set, or else the run that made it."""
        maker = self._document(reference)
        if maker is not None and isinstance(maker.job, PrepareJob):
            return PlannedData(maker, form_of(maker.job))
        if maker is not None and isinstance(maker.job, ReferenceJob):
            return PlannedData(maker, replace(self.data(maker.job.data).form, has_reference=True))
        made = self._finished(reference, "prepare")
        assert isinstance(made.outcome, PrepareResult)
        return PreparedData(made.run, made.outcome, form_of_manifest(made.outcome.manifest))

    def earlier_sweeps(
        self, one: LoadedJob, job: TuneJob, data: Mapping[str, Data]
    ) -> dict[str, PlannedSweep | EarlierSweep]:
        """What a search learns from; nothing more where it has begun before."""
        if self.begun is not None and one is self.begun.loaded:
            return {}
        there = {name: made.manifest for name, made in data.items() if isinstance(made, PreparedData)}
        here = {name: str(manifest.fingerprint) for name, manifest in there.items()}
        found: dict[str, PlannedSweep | EarlierSweep] = {}
        for reference in job.learns_from:
            planned = self._sweep(reference)
            if planned is not None:
                found[reference] = planned
                continue
            ended = self._finished(reference, "tune")
            assert isinstance(ended.outcome, SweepResult)
            # What is prepared before the search is compared on the cluster, when it is there.
            known = here if len(here) == len(data) else None
            unlike = why_nothing_is_taken(job, known, ended.run, self.index)
            found[reference] = EarlierSweep(ended.run, ended.outcome, unlike)
        return found

    def best(self, reference: str) -> PlannedSweep | FoundBest:
        """The sweep that `from_best` names, or its best trial where it has ended."""
        planned = self._sweep(reference)
        if planned is not None:
            return planned
        ended = self._finished(reference, "tune")
        assert isinstance(ended.outcome, SweepResult)
        trial = ended.outcome.best
        assert trial is not None, "the index finds sweeps that have one"
        place = f"{self.index.storage.address(ended.run.at('result.json'))}: best.training"
        training = parse_facts(trial.training, Training, place)
        return FoundBest(ended.run, trial, training, recorded(ended.run.job["job"]))

    def model(self, one: LoadedJob, reference: str) -> Model:
        """The document that makes a model, or else the run or the version that holds it."""
        planned = self._maker(one, reference)
        if planned is not None:
            return planned
        if not reference.startswith("run://"):
            return self._version(reference)
        trained = self._finished(reference, "train")
        assert isinstance(trained.outcome, TrainResult)
        return TrainedModel(trained.run, trained.outcome)

    def evaluated(self, one: LoadedJob, key: str, reference: str) -> EvaluatedModel:
        """The document that makes a model, or else its export, with the training that has made it.

        Raises:
            SpecError: nothing says which training that was.
        """
        planned = self._maker(one, reference)
        if planned is not None:
            return EvaluatedModel(key, reference, planned, planned.training)
        found = self._found_weights(reference)
        try:
            return EvaluatedModel(key, reference, found, trained_by(found.run))
        except (UsageError, DamagedFile) as error:
            raise SpecError([one.fault(key, f"{reference}: {error}")]) from None

    def gate(self, job: ServeJob, model: Model) -> str | None:
        """Why the gate of an endpoint does not let its model pass; None where it does, or there is none."""
        if job.gate is None:
            return None
        evaluation = self._document(job.gate)
        if evaluation is not None and isinstance(evaluation.job, EvaluateJob):
            if job.model in (evaluation.job.model, *versions_made(evaluation.job)):
                return None  # it has passed when its turn has come, or nothing after it runs
            return (
                f"{job.gate} evaluates {evaluation.job.model}, and {job.model} is served; name that evaluation's model"
            )
        match model:
            case PlannedModel():
                return f"{job.gate} has not seen {job.model}, which {model.document.job.name} makes; evaluate it before"
            case TrainedModel(run=run):
                model_run = run.run_id
            case _:
                model_run = model.facts.run_id
        runs = self.index.named(job.gate.removeprefix("run://"), "evaluate")
        try:
            passed(runs, gate=job.gate, model=job.model, model_run=model_run)
        except PlatformError as error:
            return str(error)
        return None

    def beginning(self, one: LoadedJob, training: Training) -> Beginning | None:
        """The document that makes what a training begins with, or else the model or checkpoint that is there."""
        reference = training.begins_with
        if reference is None:
            return None
        found = self._found_weights if training.init_from is None else self._found_checkpoint
        return self._maker(one, reference) or found(reference)

    def beginnings(self, one: LoadedJob, job: TuneJob) -> dict[str, Beginning]:
        """The same of every trial, by reference."""
        found = self._found_weights if job.train.init_from is None else self._found_checkpoint
        return {reference: self._maker(one, reference) or found(reference) for reference in job.weights}

    def beginning_of_best(self, one: LoadedJob, full: TrainJob, best: PlannedSweep | FoundBest) -> Beginning | None:
        """What a sweep's best trial began with: what the sweep meant by that name, where it has begun.

        Raises:
            SpecError: storage has nothing of that name.
        """
        reference = full.begins_with
        if reference is None:
            return None
        try:
            meant = kept(best.run).get(reference) if isinstance(best, FoundBest) else None
            return self.beginning(one, full) if meant is None else self._there(meant)
        except (UsageError, DamagedFile) as error:
            raise SpecError([one.fault("from_best", f"{weights_key(full)}: {error}")]) from None

    def _maker(self, one: LoadedJob, reference: str) -> PlannedModel | None:
        """The document before this one that makes a model."""
        wanted = Reference(key="model", target=reference, wants="train")
        before = self.loaded[: self.loaded.index(one)]
        makers = [other for other in before if answers(other.job, wanted)]
        return PlannedModel(makers[-1], self.trainings.get(makers[-1].job.name)) if makers else None

    def _found_weights(self, reference: str) -> FoundWeights:
        """What storage has of a model; of a run that goes on, what it began with."""
        if reference not in self._weights:
            meant = self.begun.weights.get(reference) if self.begun is not None else None
            origin = meant if isinstance(meant, WeightsOrigin) else self._origin(reference)
            self._weights[reference] = FoundWeights(origin, self._run(origin), outline_of(self.index.storage, origin))
        return self._weights[reference]

    def _found_checkpoint(self, reference: str) -> FoundCheckpoint:
        """What storage has of a training's checkpoint; of a run that goes on, what it began with."""
        meant = self.begun.weights.get(reference) if self.begun is not None else None
        if not isinstance(meant, InitOrigin):
            name, _, step = reference.removeprefix("run://").partition("@")
            meant = of_checkpoint(self.index.named(name, "train"), int(step) if step else None, reference)
        return FoundCheckpoint(meant, self._run(meant))

    def _origin(self, reference: str) -> WeightsOrigin:
        if reference.startswith("run://"):
            return of_run(self._finished(reference, "train").run)
        return of_version(self._version(reference))

    def _there(self, meant: Origin) -> FoundWeights | FoundCheckpoint:
        if isinstance(meant, InitOrigin):
            return FoundCheckpoint(meant, self._run(meant))
        return FoundWeights(meant, self._run(meant), outline_of(self.index.storage, meant))

    def _run(self, origin: Origin) -> Record:
        return Record(self.index.storage, origin.run_id)

    def _document(self, reference: str) -> LoadedJob | None:
        return next((one for one in self.loaded if reference == f"run://{one.job.name}"), None)

    def _sweep(self, reference: str) -> PlannedSweep | None:
        document = self._document(reference)
        if document is None or not isinstance(document.job, TuneJob):
            return None
        return PlannedSweep(document, document.job)

    def _finished(self, target: str, kind: str) -> Finished:
        """The newest run that is meant, but for data that a run read when it began: it goes on with that."""
        if (target, kind) not in self._runs:
            self._runs[target, kind] = self._found(target, kind)
        return self._runs[target, kind]

    def _found(self, target: str, kind: str) -> Finished:
        if kind == "prepare" and self.begun is not None and target in self.begun.data:
            run = self.begun.data[target]
            return Finished(run, prepared(run))
        return self.index.finished(target, kind)

    def _version(self, reference: str) -> ModelVersion:
        if reference not in self._versions:
            self._versions[reference] = self.index.version(reference)
        return self._versions[reference]
