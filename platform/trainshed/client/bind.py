"""The references of a submission, each answered once: by a document before it, or by what storage holds.

Knows job documents and the index of storage. Does not know whether what it finds fits: `check` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from trainshed.client.answers import Answers, Begun
from trainshed.client.bound import (
    Bound,
    BoundJob,
    BoundPrepare,
    BoundServing,
    BoundSweep,
    BoundTraining,
    FoundBest,
    PlannedSweep,
)
from trainshed.errors import DamagedFile, Fault, SpecError, UsageError
from trainshed.record.index import Index
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.load import LoadedJob, outside_references, resolve_best
from trainshed.spec.serving.serve import ServeJob
from trainshed.spec.sweep.from_best import TrainFromBest
from trainshed.spec.sweep.tune import TuneJob
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
    return Bound(tuple(_bound(one, answer) for one in loaded))


def _bound(one: LoadedJob, answer: Answers) -> BoundJob:
    job = one.job
    match job:
        case PrepareJob():
            return BoundPrepare(one)
        case TuneJob():
            data = {reference: answer.data(reference) for reference in job.data_sets}
            return BoundSweep(one, job, data, answer.earlier_sweeps(one, job, data), answer.beginnings(one, job))
        case TrainJob():
            return BoundTraining(one, job, answer.data(job.data), None, answer.beginning(one, job))
        case TrainFromBest():
            best = answer.best(job.from_best)
            full = _resolved(one, job, best)
            return BoundTraining(one, full, answer.data(full.data), best, answer.beginning_of_best(one, full, best))
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
