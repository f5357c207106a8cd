"""The references of a submission, each answered once: by a document before it, or by what storage holds.

Knows job documents and the index of storage. Does not know whether what it finds fits: `check` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from trainshed.client.answers import Answers, Begun
from trainshed.client.bound import (
    Bound,
    BoundEvaluation,
    BoundJob,
    BoundPrepare,
    BoundReference,
    BoundServing,
    BoundSweep,
    BoundTraining,
    Data,
    EvaluatedModel,
    FoundBest,
    PlannedSweep,
    PreparedData,
)
from trainshed.errors import DamagedFile, Fault, SpecError, UsageError
from trainshed.record.index import Index
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.evaluation.evaluate import EvaluateJob
from trainshed.spec.load import LoadedJob, outside_references, resolve_best
from trainshed.spec.serving.serve import ServeJob
from trainshed.spec.sweep.epochs import sweep_with_steps, with_steps
from trainshed.spec.sweep.from_best import TrainFromBest
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.reference import ReferenceJob
from trainshed.spec.training.train import TrainJob


def bind(
    loaded: Sequence[LoadedJob], index: Index, *, begun: Begun | None = None, found: Sequence[Fault] = ()
) -> Bound:
    """Answers every reference. `found` is what is wrong with the documents besides: all of it is said at once.

    Raises:
        SpecError: a reference that nothing answers, or one of `found`.
        UsageError: the data that a best trial was trained on is not there any more.
        DamagedFile: a best trial's training is none.
    """
    answer = Answers(tuple(loaded), index, begun)
    faults = list(found)
    for one, reference in outside_references(loaded):
        try:
            answer.look_up(reference)
        except (UsageError, DamagedFile) as error:
            faults.append(one.fault(reference.key, str(error)))
    if faults:
        raise SpecError(faults)
    bound: list[BoundJob] = []
    for one in loaded:
        made = _bound(one, answer)
        bound.append(made)
        match made:
            case BoundTraining(full=full):
                answer.trainings[one.job.name] = full
            case BoundSweep(job=job):
                answer.trainings[one.job.name] = job.train
            case BoundEvaluation(model=EvaluatedModel(trained=trained)) if trained is not None:
                answer.trainings[one.job.name] = trained
            case _:
                pass
    return Bound(tuple(bound))


def _bound(one: LoadedJob, answer: Answers) -> BoundJob:
    job = one.job
    match job:
        case PrepareJob():
            return BoundPrepare(one)
        case ReferenceJob():
            return BoundReference(one, job, answer.data(job.data), answer.beginning(one, job.training))
        case TuneJob():
            data = {reference: answer.data(reference) for reference in job.data_sets}
            beginnings = answer.beginnings(one, job)
            job = _sweep_with_steps(one, job, data[job.train.data])
            return BoundSweep(one, job, data, answer.earlier_sweeps(one, job, data), beginnings)
        case TrainJob():
            own = answer.data(job.data)
            return BoundTraining(one, _with_steps(one, job, own), own, None, answer.beginning(one, job))
        case TrainFromBest():
            best = answer.best(job.from_best)
            full = _resolved(one, job, best)
            own = answer.data(full.data)
            full = _with_steps(one, full, own)
            return BoundTraining(one, full, own, best, answer.beginning_of_best(one, full, best))
        case EvaluateJob():
            judged = answer.evaluated(one, "model", job.model)
            other = None if job.require is None else job.require.against
            against = None if other is None else answer.evaluated(one, "require.against", other)
            return BoundEvaluation(one, job, answer.data(job.data), judged, against)
        case ServeJob():
            model = answer.model(one, job.model)
            return BoundServing(one, job, model, answer.gate(job, model))
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


def _with_steps(one: LoadedJob, job: TrainJob, data: Data) -> TrainJob:
    """The job with the steps that its epochs come to; the same one where the data is yet to be made.

    Raises:
        SpecError: its schedule does not fit so many.
    """
    if not isinstance(data, PreparedData):
        return job
    try:
        return with_steps(job, data.manifest.splits["train"].samples)
    except SpecError as error:
        raise SpecError([one.fault("epochs", fault.message) for fault in error.faults]) from None


def _sweep_with_steps(one: LoadedJob, job: TuneJob, data: Data) -> TuneJob:
    """The same of a sweep. Raises as `_with_steps`."""
    if not isinstance(data, PreparedData):
        return job
    try:
        return sweep_with_steps(job, data.manifest.splits["train"].samples)
    except SpecError as error:
        raise SpecError([one.fault("train.epochs", fault.message) for fault in error.faults]) from None
