"""The references of a submission, each answered once: by a document before it, or by what storage holds.

Knows job documents and the index of storage. Does not know whether what it finds fits: `check` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from trainshed.client.bound import (
    Bound,
    BoundJob,
    BoundPrepare,
    BoundServing,
    BoundSweep,
    BoundTraining,
    Data,
    EarlierSweep,
    FoundBest,
    FoundWeights,
    Model,
    PlannedData,
    PlannedModel,
    PlannedSweep,
    PreparedData,
    TrainedModel,
    Weights,
)
from trainshed.client.outline import outline_of
from trainshed.errors import DamagedFile, Fault, SpecError, UsageError
from trainshed.record.built_on import prepared
from trainshed.record.data_form import form_of_manifest
from trainshed.record.facts import parse_facts
from trainshed.record.index import Finished, Index
from trainshed.record.learning import why_nothing_is_taken
from trainshed.record.registry import ModelVersion
from trainshed.record.results import PrepareResult, SweepResult, TrainResult, WeightsOrigin
from trainshed.record.run import Record
from trainshed.record.weights import Origins, kept, of_run, of_version
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.fitting import form_of
from trainshed.spec.job import WEIGHTS_KEY, Reference
from trainshed.spec.load import LoadedJob, answers, outside_references, resolve_best
from trainshed.spec.serving.serve import ServeJob
from trainshed.spec.sweep.constraints import recorded
from trainshed.spec.sweep.from_best import TrainFromBest
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.train import Training, TrainJob


@dataclass(frozen=True)
class Begun:
    """A document that has begun before and goes on, with the runs that its references to data meant then."""

    loaded: LoadedJob
    data: Mapping[str, Record]
    weights: Origins = field(default_factory=dict)
    """The models of ours that it began with, by reference."""


def bind(
    loaded: Sequence[LoadedJob], index: Index, *, begun: Begun | None = None, found: Sequence[Fault] = ()
) -> Bound:
    """Answers every reference. `found` is what is wrong with the documents besides: all of it is said at once.

    Raises:
        SpecError: a reference that nothing answers, or one of `found`.
        UsageError: the data that a best trial was trained on is not there any more.
        DamagedFile: a best trial's training is none.
    """
    answer = _Answers(tuple(loaded), index, begun)
    faults = list(found)
    for one, reference in outside_references(loaded):
        try:
            answer.look_up(reference)
        except (UsageError, DamagedFile) as error:
            faults.append(one.fault(reference.key, str(error)))
    if faults:
        raise SpecError(faults)
    return Bound(tuple(_bound(one, answer) for one in loaded))


def _bound(one: LoadedJob, answer: _Answers) -> BoundJob:
    job = one.job
    match job:
        case PrepareJob():
            return BoundPrepare(one)
        case TuneJob():
            data = {reference: answer.data(reference) for reference in job.data_sets}
            weights = {reference: answer.weights(one, reference) for reference in job.weights}
            return BoundSweep(one, job, data, answer.earlier_sweeps(one, job, data), weights)
        case TrainJob():
            began = None if job.weights is None else answer.weights(one, job.weights)
            return BoundTraining(one, job, answer.data(job.data), None, began)
        case TrainFromBest():
            best = answer.best(job.from_best)
            full = _resolved(one, job, best)
            return BoundTraining(one, full, answer.data(full.data), best, answer.weights_of_best(one, full, best))
        case ServeJob():
            return BoundServing(one, job, answer.model(one, job.model))
        case _:
            assert_never(job)


def _resolved(one: LoadedJob, job: TrainFromBest, best: PlannedSweep | FoundBest) -> TrainJob:
    """The document in full. Raises SpecError where its fields or settings do not fit the best trial's training."""
    match best:
        case PlannedSweep():
            return resolve_best(one, job, best.job.train)
        case FoundBest():
            return resolve_best(one, job, best.training, best.constraints)
        case _:
            assert_never(best)


@dataclass(frozen=True)
class _Answers:
    """Resolved references, each looked up once."""

    loaded: tuple[LoadedJob, ...]
    index: Index
    begun: Begun | None
    _runs: dict[tuple[str, str], Finished] = field(default_factory=dict)
    _versions: dict[str, ModelVersion] = field(default_factory=dict)
    _weights: dict[str, FoundWeights] = field(default_factory=dict)

    def look_up(self, reference: Reference) -> None:
        """Finds what storage has for a reference. Raises UsageError or DamagedFile where that is nothing."""
        if reference.begins:
            self._found_weights(reference.target)
        elif reference.target.startswith("run://"):
            self._finished(reference.target, reference.wants)
        else:
            self._version(reference.target)

    def data(self, reference: str) -> Data:
        """The document that makes a data set, or else the run that made it."""
        maker = self._document(reference)
        if maker is not None and isinstance(maker.job, PrepareJob):
            return PlannedData(maker, form_of(maker.job))
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

    def weights(self, one: LoadedJob, reference: str) -> Weights:
        """The document that makes a model of ours, or else its export."""
        return self._maker(one, reference) or self._found_weights(reference)

    def weights_of_best(self, one: LoadedJob, full: TrainJob, best: PlannedSweep | FoundBest) -> Weights | None:
        """What a sweep's best trial began with: what the sweep meant by that name, where it has begun.

        Raises:
            SpecError: storage has nothing of that name.
        """
        if full.weights is None:
            return None
        try:
            meant = kept(best.run).get(full.weights) if isinstance(best, FoundBest) else None
            return self.weights(one, full.weights) if meant is None else self._outlined(meant)
        except (UsageError, DamagedFile) as error:
            raise SpecError([one.fault("from_best", f"{WEIGHTS_KEY}: {error}")]) from None

    def _maker(self, one: LoadedJob, reference: str) -> PlannedModel | None:
        """The document before this one that makes a model."""
        wanted = Reference(key="model", target=reference, wants="train")
        before = self.loaded[: self.loaded.index(one)]
        makers = [other for other in before if answers(other.job, wanted)]
        return PlannedModel(makers[-1]) if makers else None

    def _found_weights(self, reference: str) -> FoundWeights:
        """What storage has of a model; of a run that goes on, what it began with."""
        if reference not in self._weights:
            meant = self.begun.weights.get(reference) if self.begun is not None else None
            self._weights[reference] = self._outlined(meant or self._origin(reference))
        return self._weights[reference]

    def _origin(self, reference: str) -> WeightsOrigin:
        if reference.startswith("run://"):
            return of_run(self._finished(reference, "train").run)
        return of_version(self._version(reference))

    def _outlined(self, origin: WeightsOrigin) -> FoundWeights:
        run = Record(self.index.storage, origin.run_id)
        return FoundWeights(origin, run, outline_of(run.storage, origin))

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
