"""The process of a trial, under Ray Tune: what it does between one trial and the next."""

import asyncio
import os
import threading

import pytest
import ray
import ray.tune

from job_texts import TUNE
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.trials import TrialFiles, begun
from trainshed.runtime.report import Reporter, Voice
from trainshed.runtime.tuning.report.trial_results import trial_result
from trainshed.runtime.tuning.scheduling.stoppers import Spent
from trainshed.runtime.tuning.trial.entry import PATIENCE, Patient, run_trial
from trainshed.runtime.tuning.watcher import Watcher
from trainshed.spec.load import job_from_data

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]  # Ray Tune waits for ever for a trial that it has dropped

JOB = job_from_data(TUNE)


@ray.remote(num_cpus=0)
class Asked:
    """Whether a process has been asked to take another trial."""

    def __init__(self):
        self._asked = asyncio.Event()

    async def tell(self):
        self._asked.set()

    async def wait(self):
        await self._asked.wait()


class Telling:
    """Says that it is asked."""

    def reset_config(self, new_config):
        ray.get(ray.get_actor("asked").tell.remote())
        return super().reset_config(new_config)


class Hasty(Patient):
    ending_s = 1


def slow_to_end(config):
    """Is not over before its process is asked to take another trial, for which Ray is told to wait not at all."""
    os.environ[PATIENCE] = "0"
    try:
        ray.tune.report({"step": 10, "validation_loss": float(config["number"]), "pid": os.getpid()})
    finally:
        ray.get(ray.get_actor("asked").wait.remote())


def never_over(config):
    """Its thread stands for ever."""
    try:
        ray.tune.report({"step": 10, "validation_loss": float(config["number"])})
    finally:
        threading.Event().wait()


def tuned(function, mixins, folder, *, callbacks=()):
    """What two trials came to that take turns in one process."""
    function.__mixins__ = mixins
    settings = {"optimizer.learning_rate": 0.01}
    return ray.tune.Tuner(
        ray.tune.with_parameters(function),
        param_space={"number": ray.tune.grid_search([0, 1]), "settings": settings},
        tune_config=ray.tune.TuneConfig(
            metric="validation_loss",
            mode="min",
            max_concurrent_trials=1,
            reuse_actors=True,
            trial_name_creator=lambda trial: f"trial-{trial.config['number']:05d}",
        ),
        run_config=ray.tune.RunConfig(
            name="slow", storage_path=str(folder), verbose=0, stop={"training_iteration": 1}, callbacks=list(callbacks)
        ),
    ).fit()


def test_a_trial_that_is_slow_to_end_does_not_cost_the_next_one(local_ray, tmp_path):
    asked = Asked.options(name="asked").remote()
    results = tuned(slow_to_end, (Telling, *run_trial.__mixins__), tmp_path)
    ray.kill(asked)
    assert [result.error for result in results] == [None, None]
    assert sorted(result.metrics["validation_loss"] for result in results) == [0.0, 1.0]
    assert len({result.metrics["pid"] for result in results}) == 1


def test_a_trial_whose_process_dies_before_it_begins_is_one_that_failed(local_ray, tmp_path):
    record = Record(Storage.open(tmp_path), "sweep")
    watcher = Watcher(JOB, Reporter(record, Voice()), Spent(JOB, record))
    TrialFiles(record.storage, record.at(), 0).begin({"optimizer.learning_rate": 0.01}, JOB.train)
    tuned(never_over, (Hasty,), tmp_path / "tune", callbacks=[watcher])
    first, second = (trial_result(JOB, trial) for trial in begun(record.storage, record.at()))
    assert first.state != "failed"
    assert (second.trial, second.state, second.kind) == ("trial-00001", "failed", "lost")
    assert second.settings == {"optimizer.learning_rate": 0.01}
    assert second.cause.startswith("it was lost too often")
