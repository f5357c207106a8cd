"""The tune job, read top to bottom: space, trials, the best one, a report.

A driver that goes on after another starts Ray Tune anew: trials that have ended are told again from the Record, those
that were cut off go on from their checkpoints, and the searcher hands out what was handed out before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
import ray.tune

from trainshed.record.facts import CodeFacts
from trainshed.record.results import SweepResult
from trainshed.record.run import TUNE, Record, now
from trainshed.record.trials import TrialFiles, begun, name_of
from trainshed.record.weights import Origins
from trainshed.runtime.report import Reporter
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.runtime.tuning.conclusion import conclude
from trainshed.runtime.tuning.data import folders
from trainshed.runtime.tuning.report.trial_results import came_to
from trainshed.runtime.tuning.scheduling.schedulers import scheduler_of, seeded
from trainshed.runtime.tuning.scheduling.stoppers import Ceilings, Spent
from trainshed.runtime.tuning.search.prior_trials import known_before
from trainshed.runtime.tuning.search.searcher import Numbered
from trainshed.runtime.tuning.trial.entry import run_trial
from trainshed.runtime.tuning.trial.failure_kinds import failed_by_itself
from trainshed.runtime.tuning.trial.resources import Limited, at_once, of_a_trial, room_now
from trainshed.runtime.tuning.trial.spec import TrialSpec
from trainshed.runtime.tuning.trial.watchdog import watching_trials
from trainshed.runtime.tuning.watcher import Watcher
from trainshed.spec.sweep.capacity import of_a_worker
from trainshed.spec.sweep.possible import Settings
from trainshed.spec.sweep.stopping import Pb2, Pbt
from trainshed.spec.sweep.tune import TuneJob

LOST_RETRIES = 3
"""So often a trial is started again whose process or machine was lost."""


def sweep(
    job: TuneJob,
    reporter: Reporter,
    *,
    data: Mapping[str, Record],
    earlier: Sequence[Record],
    weights: Origins,
    code: CodeFacts,
) -> SweepResult:
    """Runs the trials and returns the result; see `conclude`.

    `data` are the runs that made what trials read, by reference; see `tuning.data`; `weights` the models of ours that
    they begin with. `earlier` are the sweeps that
    `search.learn_from` names.

    Raises:
        PlatformError: no trial came to a metric; the message is the commonest cause.
        Stopped: it was asked to stop.
    """
    record = reporter.record
    before = list(begun(record.storage, record.at()))
    spent = Spent(job, record)
    watcher = Watcher(job, reporter, spent)
    ceilings = Ceilings(job.budget, spent, asked=lambda: record.asked_to_stop, too_many=watcher.too_many_errors)
    watcher.ceilings = ceilings
    _say_what_begins(job, reporter, ended=sum(trial.ended is not None for trial in before))
    seeded(job)
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # a trial that failed has none, and the others go on
    searcher = _searcher(job, reporter, data, earlier)
    with watching_trials(job.train.workers, killed=watcher.hung) as heartbeats:
        plan = _plan(job, record, data, weights, heartbeats)
        try:
            _tuner(job, reporter, plan, watcher, ceilings, searcher).fit()
        finally:
            record.storage.delete(record.at(TUNE))  # pickles that nobody reads
    spent.keep()
    if searcher.refused:
        reporter.log(searcher.refusals)
    result = conclude(job, reporter, plan.worker, ceilings, spent, data=data, code=code, refused=searcher.refusals)
    return result.model_copy(update={"refused": searcher.refused})


def _tuner(
    job: TuneJob, reporter: Reporter, plan: TrialSpec, watcher: Watcher, ceilings: Ceilings, searcher: Numbered
) -> ray.tune.Tuner:
    record = reporter.record
    if plan.interval is not None:  # its scheduler wants no searcher beside it
        members = _members(job, searcher)
        drawn = ray.tune.sample_from(lambda spec: members[spec.config.number])
        space = {"number": ray.tune.grid_search(list(range(len(members)))), "settings": drawn}
        choosing: dict[str, Any] = {"num_samples": 1}
    else:
        space = {}
        limited = Limited(searcher, job)
        choosing = {"num_samples": job.trials, "search_alg": limited}
    return ray.tune.Tuner(
        ray.tune.with_resources(ray.tune.with_parameters(run_trial, plan=plan), of_a_trial(job)),
        param_space=space,
        tune_config=ray.tune.TuneConfig(
            metric=job.metric,
            mode=job.mode,
            **choosing,
            scheduler=scheduler_of(job, searcher.possible, failed=_failing(record)),
            reuse_actors=job.train.workers.max_count == 1,
            trial_name_creator=lambda trial: name_of(trial.config["number"]),
            trial_dirname_creator=lambda trial: name_of(trial.config["number"]),
        ),
        run_config=ray.tune.RunConfig(
            name=f"tune-{now().replace(':', '')}",  # a fresh one each time: the Record remembers, Tune need not
            storage_path=record.storage.path(record.at(TUNE)),
            storage_filesystem=None if record.storage.is_local else record.storage.fs,
            failure_config=ray.tune.FailureConfig(max_failures=LOST_RETRIES),
            callbacks=[watcher],
            stop=ceilings,
            verbose=0,
        ),
    )


def _members(job: TuneJob, searcher: Numbered) -> list[Settings]:
    """The settings that each member of a population begins with; fewer where the space has no more."""
    asked = (searcher.suggest(str(number)) for number in range(job.trials))
    return [one["settings"] for one in asked if isinstance(one, dict)]


def _plan(job: TuneJob, record: Record, data: Mapping[str, Record], weights: Origins, heartbeats: Any) -> TrialSpec:
    training = job.train
    interval = None
    if isinstance(job.stop_early, Pbt | Pb2):  # one that is replaced goes on from any of the others, wherever that is
        interval = job.stop_early.interval_steps
        every = {"every_steps": interval, "keep": training.total_steps // interval + 1}
        training = training.model_copy(update={"checkpoint": training.checkpoint.model_copy(update=every)})
    worker = WorkerSpec(
        training=training.model_dump(mode="json"),
        storage=record.storage.uri,
        data=folders(data)[training.data],
        folder=record.at(),
        export=False,
        weights={reference: origin.as_json() for reference, origin in weights.items()},
    )
    share = min(1.0, job.gpus_of_a_worker)
    retries = job.failures.memory_retries
    return TrialSpec(worker, folders(data), retries, job.folds, interval, heartbeats, gpu_share=share)


def _searcher(job: TuneJob, reporter: Reporter, data: Mapping[str, Record], earlier: Sequence[Record]) -> Numbered:
    record = reporter.record
    trials = [(trial.number, trial.facts) for trial in begun(record.storage, record.at())]
    recorded = {number: facts.settings for number, facts in trials if facts is not None}
    known = known_before(job, data, earlier, sink=reporter)
    return Numbered(
        job, recorded, earlier=known, failed=_failing(record), came_to=_coming_to(job, record), sink=reporter
    )


def _failing(record: Record) -> Callable[[int], bool]:
    """Whether a trial, by its number, failed by its own settings."""
    return lambda number: failed_by_itself(TrialFiles(record.storage, record.at(), number))


def _coming_to(job: TuneJob, record: Record) -> Callable[[int], float | None]:
    """What a trial, by its number, came to where it came to its own end."""
    return lambda number: came_to(job, TrialFiles(record.storage, record.at(), number))


def _say_what_begins(job: TuneJob, reporter: Reporter, *, ended: int) -> None:
    room = room_now(job)
    asked = at_once(job, room)
    reporter.log(f"sweep {job.name}: {job.trials} trials of {job.steps_of_a_trial} steps, {asked} at once")
    if ended:
        reporter.log(f"{ended} trials have ended before: they are not run again")
    if job.trials_per_device != 1:
        reporter.log(f"{job.trials_per_device} trials share a GPU")
    if room < asked:
        count = job.train.workers.max_count
        each = ", ".join(f"{count * amount:g} {name}" for name, amount in of_a_worker(job).items())
        reporter.log(f"the cluster has room for {room} of {asked} trials at once ({each} each): the others wait")
