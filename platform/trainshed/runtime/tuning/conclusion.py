"""What a sweep whose trials are over comes to: the best one, a report, a registered model, and what may be removed.

Whatever goes wrong here, the result is written: hours of trials are not lost for a picture or an export.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainshed.record.checkpoints import METRIC, prune
from trainshed.record.run import Record
from trainshed.record.trials import CUT, TrialFiles, begun, is_measured, number_of
from trainshed.runtime.cause import cause_of
from trainshed.runtime.report import Reporter
from trainshed.runtime.training.stopped import Stopped
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.runtime.tuning.report.trial_results import best_of, story, training_of
from trainshed.runtime.tuning.scheduling.stoppers import Ceilings, Spent
from trainshed.spec.sweep.tune import TuneJob


def conclude(
    job: TuneJob,
    reporter: Reporter,
    plan: WorkerSpec,
    ceilings: Ceilings,
    spent: Spent,
    *,
    data: Mapping[str, Record],
    code: dict[str, Any],
    refused: str = "",
) -> dict[str, Any]:
    """The result: the best trial with its whole training, every trial's story, what was spent, which limit ended it.

    `failure` is why the best trial could not be registered; `best` is None where a budget ended before any figure.

    Raises:
        PlatformError: no trial came to a metric; the message is the commonest cause.
        Stopped: it was asked to stop.
    """
    trials = _stories(job, reporter.record)
    if ceilings.why == "stopped":
        raise Stopped(sum(trial["state"] != CUT for trial in trials), None, what="trial")
    if ceilings.why is not None:
        reporter.log(f"ended before its last trial: {ceilings.words}; the best so far is kept")
    limit = ceilings.words if ceilings.why == "budget" else None
    result = {"trials": trials, "metric": job.metric, "goal": job.mode, "limit": limit}
    if limit is not None and not any(is_measured(trial["value"]) for trial in trials):
        return {**result, "best": None, "spent": _used(job, spent), "registered": None}
    best = best_of(job, trials)
    _say_best(job, reporter, best, len(trials))
    files = TrialFiles(reporter.record.storage, reporter.record.at(), number_of(best["trial"]))
    if job.register_as is not None:
        result |= _registered(job, reporter, plan, ceilings, spent, files, data=data, code=code)
        trials = result["trials"] = _stories(job, reporter.record)
        best = next(trial for trial in trials if trial["trial"] == best["trial"])
    training = training_of(job, files, data)
    _write_report(job, reporter, trials, best, training, spent, {"limit": limit, "refused": refused})
    _clean_up(job, reporter.record, files)
    return {**result, "best": {**best, "training": training}, "spent": _used(job, spent)}


def _stories(job: TuneJob, record: Record) -> list[dict[str, Any]]:
    return [story(job, trial) for trial in begun(record.storage, record.at())]


def _used(job: TuneJob, spent: Spent) -> dict[str, Any]:
    hours, device_hours = spent.wall_s / 3600, spent.device_s / 3600
    cost = job.budget.cost(device_hours)
    return {"hours": hours, "device_hours": device_hours, "cost": cost, "currency": job.budget.currency}


def _registered(
    job: TuneJob,
    reporter: Reporter,
    plan: WorkerSpec,
    ceilings: Ceilings,
    spent: Spent,
    files: TrialFiles,
    *,
    data: Mapping[str, Record],
    code: dict[str, Any],
) -> dict[str, Any]:
    """`registered`, the version; where that failed it is None, and `failure` says why."""
    if ceilings.why is not None:
        reporter.log("no model is registered: the sweep has not come to its last trial, and can be resumed")
        return {"registered": None} | ({"failure": ceilings.words} if ceilings.why == "errors" else {})
    from trainshed.runtime.tuning.promote import promote  # torch, which most sweeps' drivers do without

    try:
        return {"registered": promote(job, reporter, plan, files, data=data, code=code, spent=spent)}
    except Stopped:
        raise
    except Exception as error:
        reporter.log(f"the best trial could not be registered: {cause_of(error)}")
        return {"registered": None, "failure": cause_of(error)}


def _write_report(
    job: TuneJob,
    reporter: Reporter,
    trials: list[dict[str, Any]],
    best: dict[str, Any],
    training: dict[str, Any],
    spent: Spent,
    said: dict[str, Any],
) -> None:
    record = reporter.record
    try:
        from trainshed.runtime.tuning.report import write_report  # matplotlib, which the first trial does not wait for

        write_report(record, job, trials, best, training, spent=_used(job, spent), **said)
        reporter.log(f"report: {record.storage.address(record.at('report.html'))}")
    except Exception as error:
        reporter.log(f"the report could not be written: {cause_of(error)}")


def _clean_up(job: TuneJob, record: Record, best: TrialFiles) -> None:
    """Of trials that are over only the best one's checkpoints stay, as many as the job keeps of a training."""
    for trial in begun(record.storage, record.at()):
        if trial.number == best.number and job.folds is None:  # of several trainings none is exported
            policy = job.train.checkpoint
            prune(record.storage, trial.folder, last=policy.keep, best=policy.keep_best, metric=METRIC)
        elif trial.ended is not None:  # one that was cut off goes on from its own, where the sweep is resumed
            trial.drop_state()


def _say_best(job: TuneJob, reporter: Reporter, best: dict[str, Any], count: int) -> None:
    settings = ", ".join(f"{path} {_short(value)}" for path, value in best["settings"].items())
    reporter.log(f"best of {count}: {best['trial']}, {job.metric} {best['value']:.4f}, {settings}")


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
