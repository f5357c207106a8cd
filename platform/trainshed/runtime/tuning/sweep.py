"""The tune job, read top to bottom: space, trials, the best one, a report."""

from __future__ import annotations

from collections import Counter
from typing import Any, assert_never

import ray.tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator

from trainshed.errors import PlatformError
from trainshed.record.journal import read_lines
from trainshed.record.run import Record
from trainshed.runtime.cause import cause_of
from trainshed.runtime.plots import sweep_plot
from trainshed.runtime.report import Reporter
from trainshed.runtime.training.plan import WorkerPlan
from trainshed.runtime.training.run import check_samples
from trainshed.runtime.tuning.space import param_space
from trainshed.runtime.tuning.trial import run_trial, trial_name
from trainshed.spec.tune import Asha, NoStop, TuneJob
from trainshed.spec.workers import Workers


def sweep(job: TuneJob, reporter: Reporter, *, data: Record) -> dict[str, Any]:
    """Runs the trials and returns the result: the best one with its whole training, and every trial's story.

    Raises:
        PlatformError: no trial came to a metric; the message is the commonest cause.
    """
    record = reporter.record
    check_samples(job.train, (data.result or {})["manifest"])
    plan = WorkerPlan(
        training=job.train.model_dump(mode="json"),
        storage=record.storage.uri,
        data=(data.result or {})["data"],
        folder=record.at(),
        export=False,
        keep_state=False,
    )
    reporter.log(
        f"sweep {job.name}: {job.search.trials} trials of {job.train.steps} steps, {job.search.concurrent} at once"
    )
    grid = ray.tune.Tuner(
        ray.tune.with_resources(ray.tune.with_parameters(run_trial, plan=plan), _resources(job.train.workers)),
        param_space=param_space(job.space),
        tune_config=ray.tune.TuneConfig(
            metric=job.metric,
            mode="min",
            num_samples=job.search.trials,
            search_alg=BasicVariantGenerator(max_concurrent=job.search.concurrent, random_state=job.search.seed),
            scheduler=_scheduler(job),
            reuse_actors=job.train.workers.max_count == 1,
        ),
        run_config=ray.tune.RunConfig(
            name="tune",
            storage_path=record.storage.path(record.at()),
            storage_filesystem=None if record.storage.is_local else record.storage.fs,
            callbacks=[_Watcher(reporter, job)],
            verbose=0,
        ),
    ).fit()
    trials = [_story(record, job, result) for result in grid]
    best = _best(trials)
    record.storage.write(record.at("sweep.png"), sweep_plot(record.run_id, trials, metric=job.metric))
    reporter.log(
        f"best of {len(trials)}: {best['trial']}, {job.metric} {best['value']:.4f}, {_settings(best['settings'])}"
    )
    training = record.storage.read_json(record.at(f"trials/{best['trial']}/trial.json"))["training"]
    return {"best": {**best, "training": training}, "trials": trials, "metric": job.metric}


class _Watcher(ray.tune.Callback):  # type: ignore[misc]
    """Turns what Tune sees into events of the run."""

    def __init__(self, reporter: Reporter, job: TuneJob) -> None:
        self._reporter = reporter
        self._job = job
        self._ended = 0

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks to restore a sweep; a restored sweep gets a watcher of its own."""
        return {}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:  # noqa: ARG002
        """A trial took its held-out loss."""
        self._say("trial", trial, result, state="running")
        said = f"{trial_name(trial.trial_id)} step {result['step']}: {result[self._job.metric]:.3f}"
        self._progress(what=said)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        """A trial ended, at its last step or early."""
        self._ended += 1
        step = int(trial.last_result.get("step", 0))
        self._say(
            "trial", trial, trial.last_result, state="ended" if step >= self._job.train.steps else "stopped early"
        )
        self._progress()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        """A trial failed."""
        self._ended += 1
        self._say("trial", trial, trial.last_result or {}, state="failed")
        self._progress()

    def _say(self, event: str, trial: Any, result: dict[str, Any], *, state: str) -> None:
        values = {key: result[key] for key in ("step", self._job.metric) if key in result}
        settings = {path: trial.config[path] for path in self._job.space}
        self._reporter.event(event, trial=trial_name(trial.trial_id), state=state, settings=settings, **values)

    def _progress(self, **fields: Any) -> None:
        self._reporter.progress("tune", self._ended, self._job.search.trials, **fields)


def _resources(workers: Workers) -> dict[str, float]:
    """One worker trains in the trial; several get their own from Ray Train, and the trial only waits for them."""
    if workers.max_count > 1:
        return {"CPU": 0.01}
    return {"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})}


def _scheduler(job: TuneJob) -> TrialScheduler:
    match job.stop_early:
        case NoStop():
            return FIFOScheduler()
        case Asha(grace_steps=grace, reduction=reduction):
            return ASHAScheduler(
                time_attr="step", max_t=job.train.steps, grace_period=grace, reduction_factor=reduction
            )
        case _:
            assert_never(job.stop_early)


def _story(record: Record, job: TuneJob, result: ray.tune.Result) -> dict[str, Any]:
    """What is kept of one trial: settings, the metric over steps, how it ended."""
    trial_id = str((result.metrics or {}).get("trial_id") or result.path.rsplit("run_trial_", 1)[-1][:11])
    name = trial_name(trial_id)
    rows = read_lines(record.storage, record.at(f"trials/{name}/metrics.jsonl"))
    history = [(row["step"], row[job.metric]) for row in rows if "validation_loss" in row]
    ended = "failed" if result.error else "ended" if history and history[-1][0] >= job.train.steps else "stopped early"
    return {
        "trial": name,
        "settings": {path: (result.config or {}).get(path) for path in job.space},
        "history": history,
        "value": history[-1][1] if history and not result.error else None,
        "state": ended,
        "cause": cause_of(result.error) if result.error else None,
    }


def _best(trials: list[dict[str, Any]]) -> dict[str, Any]:
    with_value = [trial for trial in trials if trial["value"] is not None]
    if not with_value:
        causes = Counter(str(trial["cause"]) for trial in trials)
        cause, count = causes.most_common(1)[0]
        raise PlatformError(f"no trial came to a metric; {count} of {len(trials)} failed with: {cause}")
    return min(with_value, key=lambda trial: float(trial["value"]))


def _settings(settings: dict[str, Any]) -> str:
    return ", ".join(
        f"{path} {value:.3g}" if isinstance(value, float) else f"{path} {value}" for path, value in settings.items()
    )
