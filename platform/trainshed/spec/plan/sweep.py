"""The plan of a sweep: its largest trial must fit, and so must all that share a device with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import JsonValue

from trainshed.errors import PlanError
from trainshed.spec.plan.choose import Plan, plan, resolved
from trainshed.spec.plan.largest_trial import LargestTrial, largest_trial, sizes_by_data
from trainshed.spec.plan.limits import limits_of
from trainshed.spec.plan.price import HourPrice
from trainshed.spec.plan.refusal import refuse_what_cannot_fit
from trainshed.spec.plan.sharing import SweepNeed
from trainshed.spec.plan.states import needed
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.models import DataSizes
from trainshed.spec.training.train import Training

MOST = 100
"""Trials on one device at most, as the job file allows."""


def plan_sweep(
    job: TuneJob,
    sizes: DataSizes,
    *,
    of_each: Mapping[str, DataSizes] | None = None,
    machine_bytes: int | None = None,
) -> tuple[TuneJob, Plan]:
    """The job with numbers in place of every `auto`, and the plan of its training with what its trials need.

    `sizes` are those of the training's data, `of_each` those of every data set that a trial may read, by reference;
    `machine_bytes` is what one trial may have of this machine.

    Raises:
        PlanError: a trial of the space cannot fit, or not so many on a device; or an `auto` cannot be answered.
    """
    sizes_of = sizes_by_data(sizes, of_each or {})
    point = largest_trial(job, sizes_of)
    if point is None:
        _refuse_blind(job, None)
        own = plan(job.name, job.train, sizes, machine_bytes=machine_bytes)
        refuse_what_cannot_fit(own, job.train)
        settled = job.model_copy(update={"train": resolved(job.train, own.chosen)} | _one_each(job))
        return settled, replace(own, price=_own_price(job))
    of_point = plan(_named(job, point), point.training, sizes_of(point.training), machine_bytes=machine_bytes)
    refuse_what_cannot_fit(of_point, point.training)
    assert of_point.chosen is not None
    training = _as_chosen(job, point, of_point, sizes, machine_bytes)
    trials = _trials_per_device(job, point, of_point)
    own = plan(job.name, training, sizes, machine_bytes=machine_bytes)
    need = SweepNeed(
        settings=point.settings,
        needed=needed(of_point.chosen, point.training.workers),
        limit=of_point.limit,
        trials_per_device=trials,
    )
    settled = job.model_copy(update={"train": training, "trials_per_device": trials})
    return settled, replace(own, sweep=need, price=_own_price(job))


def _as_chosen(
    job: TuneJob, point: LargestTrial, of_point: Plan, sizes: DataSizes, machine_bytes: int | None
) -> Training:
    """The sweep's training with what the largest trial can have in place of every `auto`."""
    if point.training.engine.kind == job.train.engine.kind:
        return resolved(job.train, of_point.chosen)
    own = plan(job.name, job.train, sizes, machine_bytes=machine_bytes)
    refuse_what_cannot_fit(own, job.train)
    return resolved(job.train, own.chosen)


def _trials_per_device(job: TuneJob, point: LargestTrial, of_point: Plan) -> int:
    """How many trials share a device: what the job says, if they fit, or as many as do, at most `concurrent`."""
    asked = job.trials_per_device
    workers = point.training.workers
    if asked == 1 or not job.train.workers.gpus:
        return 1
    if asked == "auto":
        _refuse_blind(job, point)
    assert of_point.chosen is not None
    count = needed(of_point.chosen, point.training.workers)
    most = min(MOST, job.concurrent) if asked == "auto" else asked
    fitting = [
        trials
        for trials in range(1, most + 1)
        if (limit := next(iter(limits_of(workers, None, trials=trials)), None)) is None or count <= limit.bytes
    ]
    if asked != "auto" and asked not in fitting:
        assert of_point.limit is not None
        raise PlanError(
            f"{_named(job, point)}: trials_per_device: {asked} trials need {count / 1e9:.2f} GB each, "
            f"{of_point.limit.source} is {of_point.limit.bytes / 1e9:.2f} GB; "
            f"trials_per_device: {max(fitting)} would fit"
        )
    return max(fitting)


def _refuse_blind(job: TuneJob, point: LargestTrial | None) -> None:
    """`auto` needs every trial's weights and activations, and the memory of a device."""
    if job.trials_per_device != "auto" or not job.train.workers.gpus:
        return
    said = f"{job.name}: trials_per_device: auto"
    if point is None or not point.all_counted:
        raise PlanError(
            f"{said} needs models whose weights and activations can be counted from the job, and those of this sweep "
            "are only known on the cluster; give a number"
        )
    if not limits_of(point.training.workers, None):
        raise PlanError(f"{said} needs to know the memory of a worker; give workers.gpu_type or workers.memory_gb")


def _own_price(job: TuneJob) -> HourPrice | None:
    if job.budget.price is None:
        return None
    return HourPrice(job.budget.price, job.budget.currency, job.budget.price_from or "budget.price")


def _one_each(job: TuneJob) -> dict[str, int]:
    return {"trials_per_device": 1} if job.trials_per_device == "auto" else {}


def _named(job: TuneJob, point: LargestTrial) -> str:
    """The sweep, and the settings of a trial, as errors name them."""
    settings = " and ".join(f"{path} {_short(value)}" for path, value in point.settings.items())
    return f"{job.name}: a trial with {settings}" if settings else job.name


def _short(value: JsonValue) -> str:
    if isinstance(value, dict):
        return str(value.get("kind", value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
