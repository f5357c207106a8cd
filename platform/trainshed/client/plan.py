"""The plan of a bound submission: a number in place of every `auto`, and a refusal of what cannot fit.

Knows bound documents and the arithmetic of `spec.plan`; looks nothing up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

import psutil

from trainshed.client.beginnings import as_planned
from trainshed.client.bound import (
    Bound,
    BoundEvaluation,
    BoundJob,
    BoundPrepare,
    BoundReference,
    BoundServing,
    BoundSweep,
    BoundTraining,
    PlannedModel,
)
from trainshed.client.ray_head import default_cpus
from trainshed.record.weights import Origins
from trainshed.spec import plan as arithmetic
from trainshed.spec.evaluation.training import evaluated_as
from trainshed.spec.job import Job
from trainshed.spec.load import LoadedJob
from trainshed.spec.plan import Plan
from trainshed.spec.sweep.capacity import room_for
from trainshed.spec.sweep.from_best import TrainFromBest
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.train import Training, TrainJob


@dataclass(frozen=True)
class Planned:
    """Documents as the cluster shall read them, and the arithmetic of every training and sweep among them."""

    loaded: tuple[LoadedJob, ...]
    plans: tuple[Plan, ...]
    weights: Mapping[str, Origins] = field(default_factory=dict)
    """What the references of each document, by its name, to models and checkpoints of ours mean."""


def machine_bytes() -> int:
    """This machine's memory."""
    return int(psutil.virtual_memory().total)


def plan(bound: Bound, *, machine_bytes: int | None = None) -> Planned:
    """Plans every document. `machine_bytes` is the memory of the one machine that the cluster is, where it is known.

    Raises:
        PlanError: one cannot fit, or says `auto` where the plan cannot know.
    """
    settled: list[LoadedJob] = []
    plans: list[Plan] = []
    for one in bound.jobs:
        match one:
            case BoundSweep():
                job, own = _sweep(one, machine_bytes)
                settled.append(job)
                plans.append(own)
            case BoundTraining():
                job, own = _training(one, machine_bytes)
                settled.append(job)
                plans.append(own)
            case BoundReference():
                job, own = _reference(one, machine_bytes)
                settled.append(job)
                plans.append(own)
            case BoundEvaluation():
                settled.append(one.loaded)
                plans += _evaluation(one, machine_bytes)
            case BoundPrepare() | BoundServing():
                settled.append(one.loaded)
            case _:
                assert_never(one)
    return Planned(tuple(settled), tuple(plans), {one.loaded.job.name: _found(one) for one in bound.jobs})


def _found(one: BoundJob) -> Origins:
    """What is there for a document to begin with, by reference; the cluster finds what is made before it."""
    match one:
        case BoundSweep():
            weights = one.weights
        case BoundTraining(full=full, weights=began):
            weights = {} if began is None or full.begins_with is None else {full.begins_with: began}
        case BoundReference(job=job, weights=began):
            weights = {} if began is None or job.model.reference is None else {job.model.reference: began}
        case BoundEvaluation():
            weights = {one_of.reference: one_of.found for one_of in one.models}
        case BoundPrepare() | BoundServing():
            weights = {}
        case _:
            assert_never(one)
    return {name: found.origin for name, found in weights.items() if not isinstance(found, PlannedModel)}


def _sweep(one: BoundSweep, machine_bytes: int | None) -> tuple[LoadedJob, Plan]:
    job = one.job.model_copy(update={"train": _counted_train(one)})
    of_each = {reference: data.form.sizes for reference, data in one.data.items()}
    sizes = of_each[job.train.data]
    share = _share(machine_bytes, job)
    settled, own = arithmetic.plan_sweep(job, sizes, of_each=of_each, machine_bytes=share)
    arithmetic.refuse_what_can_never_fit(job.name, job, sizes, of_each=of_each, machine_bytes=share)
    as_asked = settled.train.model_copy(update={"model": one.job.train.model})
    return _kept(one.loaded, settled.model_copy(update={"train": as_asked})), own


def _counted_train(one: BoundSweep) -> Training:
    """The sweep's training with a model that can be counted, where it begins with one of ours."""
    reference = one.job.train.begins_with
    began = None if reference is None else one.weights[reference]
    searches_it = any(path.split(".")[0] == "model" for path in one.job.space)
    if isinstance(began, PlannedModel) and searches_it:
        return one.job.train  # the space is over an existing model, and one that is yet to be made is of another kind
    return as_planned(one.job.train, began)


def _training(one: BoundTraining, machine_bytes: int | None) -> tuple[LoadedJob, Plan]:
    name = one.full.name
    training = as_planned(one.full.training, one.weights)
    sizes = one.data.form.sizes
    own = arithmetic.plan(name, training, sizes, machine_bytes=machine_bytes)
    arithmetic.refuse_what_cannot_fit(own, training)
    arithmetic.refuse_what_can_never_fit(name, training, sizes, machine_bytes=machine_bytes)
    return _settled(one, arithmetic.resolved(training, own.chosen)), own


def _reference(one: BoundReference, machine_bytes: int | None) -> tuple[LoadedJob, Plan]:
    training = as_planned(one.training, one.weights)
    own = arithmetic.plan(one.job.name, training, one.data.form.sizes, machine_bytes=machine_bytes, learns=False)
    arithmetic.refuse_what_cannot_fit(own, training)
    workers = arithmetic.resolved(training, own.chosen).workers
    return _kept(one.loaded, one.job.model_copy(update={"workers": workers})), own


def _evaluation(one: BoundEvaluation, machine_bytes: int | None) -> list[Plan]:
    """What its workers need for the model; nothing where a sweep that is yet to run decides which one that is."""
    if one.model.trained is None:
        return []
    training = evaluated_as(one.job, one.model.trained, one.model.reference)
    if isinstance(training.model, Pretrained):
        training = as_planned(training, one.model.found)
    own = arithmetic.plan(one.job.name, training, one.data.form.sizes, machine_bytes=machine_bytes, learns=False)
    arithmetic.refuse_what_cannot_fit(own, training)
    return [own]


def _share(machine_bytes: int | None, job: TuneJob) -> int | None:
    """This machine's memory for one trial: they run side by side."""
    if machine_bytes is None:
        return None
    room = max(1, room_for(job, [{"CPU": default_cpus()}]))
    return machine_bytes // (min(room, job.concurrent) if job.search.concurrent == "auto" else job.concurrent)


def _settled(bound: BoundTraining, training: Training) -> LoadedJob:
    """The document with what the plan has chosen, and the steps of its epochs; the same one where it says no others."""
    one = bound.loaded
    job = one.job
    match job:
        case TrainJob():
            chosen = {"engine": training.engine, "workers": training.workers}
            done: Job = job.model_copy(update={**chosen, "steps": training.steps, "epochs": training.epochs})
        case TrainFromBest():
            own = {key for key in ("engine", "workers") if getattr(job, key) is not None}
            done = job.model_copy(update={key: getattr(training, key) for key in own})
        case _:
            return one
    return _kept(one, done)


def _kept(one: LoadedJob, done: Job) -> LoadedJob:
    """The document with another job in place of what was asked, which is kept."""
    return one if done == one.job else replace(one, job=done, asked=one.asked or one.job)
