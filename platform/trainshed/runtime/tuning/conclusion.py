"""What a sweep whose trials are over comes to: the best one, a report, a registered model, and what may be removed.

Whatever goes wrong here, the result is written: hours of trials are not lost for a picture or an export.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainshed.record.checkpoints import METRIC, prune
from trainshed.record.facts import CodeFacts
from trainshed.record.results import SweepResult, Used
from trainshed.record.run import Record
from trainshed.record.trial_facts import BestTrial, TrialResult, TrialState
from trainshed.record.trials import TrialFiles, begun, number_of
from trainshed.runtime.cause import cause_of
from trainshed.runtime.report import Reporter
from trainshed.runtime.training.stopped import Stopped
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.runtime.tuning.report.scales import measured_of
from trainshed.runtime.tuning.report.trial_results import best_of, training_of, trial_result
from trainshed.runtime.tuning.scheduling.stoppers import Ceilings, Spent, Why
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.train import Training


@dataclass(frozen=True)
class Registration:
    """What became of the best trial's model: its version, or why there is none."""

    version: str | None = None
    failure: str | None = None


def conclude(
    job: TuneJob,
    reporter: Reporter,
    plan: WorkerSpec,
    ceilings: Ceilings,
    spent: Spent,
    *,
    data: Mapping[str, Record],
    code: CodeFacts,
    refused: str = "",
) -> SweepResult:
    """The result: the best trial with its whole training, that of every trial, what was spent, which limit ended it.

    `failure` is why the best trial could not be registered; `best` is None where a budget ended before any figure.

    Raises:
        PlatformError: no trial came to a metric; the message is the commonest cause.
        Stopped: it was asked to stop.
    """
    record = reporter.record
    trials = _trial_results(job, record)
    if ceilings.why is Why.STOPPED:
        raise Stopped(sum(trial.state != TrialState.CUT for trial in trials), None, what="trial")
    if ceilings.why is not None:
        reporter.log(f"ended before its last trial: {ceilings.words}; the best so far is kept")
    limit = ceilings.words if ceilings.why is Why.BUDGET else None
    if limit is not None and not measured_of(trials):
        return SweepResult(
            trials=trials,
            metric=job.metric,
            goal=job.mode,
            limit=limit,
            best=None,
            spent=_used(job, spent),
            registered=None,
        )
    best = best_of(job, trials)
    _say_best(job, reporter, best, len(trials))
    files = TrialFiles(record.storage, record.at(), number_of(best.trial))
    registration = None
    if job.register_as is not None:
        registration = _registered(job, reporter, plan, ceilings, spent, files, data=data, code=code)
        trials = _trial_results(job, record)
        best = next(trial for trial in trials if trial.trial == best.trial)
    training = training_of(job, files, data)
    _write_report(job, reporter, trials, best, training, spent, limit=limit, refused=refused)
    _clean_up(job, record, files)
    whole = best.as_json() | {"training": training.model_dump(mode="json")}
    result = SweepResult(
        trials=trials,
        metric=job.metric,
        goal=job.mode,
        limit=limit,
        best=BestTrial.model_validate(whole),
        spent=_used(job, spent),
    )
    if registration is None:
        return result
    return result.model_copy(update={"registered": registration.version, "failure": registration.failure})


def _trial_results(job: TuneJob, record: Record) -> tuple[TrialResult, ...]:
    return tuple(trial_result(job, trial) for trial in begun(record.storage, record.at()))


def _used(job: TuneJob, spent: Spent) -> Used:
    hours = spent.wall_s / 3600
    device_hours = spent.device_s / 3600
    cost = job.budget.cost(device_hours)
    return Used(hours=hours, device_hours=device_hours, cost=cost, currency=job.budget.currency)


def _registered(
    job: TuneJob,
    reporter: Reporter,
    plan: WorkerSpec,
    ceilings: Ceilings,
    spent: Spent,
    files: TrialFiles,
    *,
    data: Mapping[str, Record],
    code: CodeFacts,
) -> Registration:
    if ceilings.why is not None:
        reporter.log("no model is registered: the sweep has not come to its last trial, and can be resumed")
        return Registration(failure=ceilings.words if ceilings.why is Why.ERRORS else None)
    from trainshed.runtime.tuning.promote import promote  # torch, which most sweeps' drivers do without

    try:
        return Registration(promote(job, reporter, plan, files, data=data, code=code, spent=spent))
    except Stopped:
        raise
    except Exception as error:
        reporter.log(f"the best trial could not be registered: {cause_of(error)}")
        return Registration(failure=cause_of(error))


def _write_report(
    job: TuneJob,
    reporter: Reporter,
    trials: Sequence[TrialResult],
    best: TrialResult,
    training: Training,
    spent: Spent,
    *,
    limit: str | None,
    refused: str,
) -> None:
    record = reporter.record
    try:
        from trainshed.runtime.tuning.report import write_report  # matplotlib, which the first trial does not wait for

        used = _used(job, spent)
        write_report(record, job, trials, best, training, spent=used, limit=limit, refused=refused)
        reporter.log(f"report: {record.storage.address(record.at('report.html'))}")
    except Exception as error:
        reporter.log(f"the report could not be written: {cause_of(error)}")


def _clean_up(job: TuneJob, record: Record, best: TrialFiles) -> None:
    """Deletes the checkpoints of ended trials but the best one's, which keeps as many as a training does."""
    for trial in begun(record.storage, record.at()):
        if trial.number == best.number and job.folds is None:  # of several trainings none is exported
            policy = job.train.checkpoint
            prune(record.storage, trial.folder, last=policy.keep, best=policy.keep_best, metric=METRIC)
        elif trial.ended is not None:  # one that was cut off goes on from its own, where the sweep is resumed
            trial.drop_state()


def _say_best(job: TuneJob, reporter: Reporter, best: TrialResult, count: int) -> None:
    settings = ", ".join(f"{path} {_short(value)}" for path, value in best.settings.items())
    reporter.log(f"best of {count}: {best.trial}, {job.metric} {best.value:.4f}, {settings}")


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
