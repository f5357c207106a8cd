"""Device-hours of a sweep, under Ray Tune: what a trial holds counts, and what it waits for does not."""

import tempfile
import threading
import time

import pytest
import ray.tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from job_texts import TUNE
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.trials import TrialFiles
from trainshed.runtime.report import Reporter, Voice
from trainshed.runtime.tuning.scheduling.stoppers import Spent
from trainshed.runtime.tuning.watcher import Watcher
from trainshed.spec.load import job_from_data

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

JOB = job_from_data(TUNE)


class Turns(FIFOScheduler):
    """Each trial lets the other go first after its first report, as members of a population do."""

    def on_trial_result(self, tune_controller, trial, result):
        return TrialScheduler.PAUSE if result["step"] == 10 else TrialScheduler.CONTINUE


class Timed(Watcher):
    """Knows from when to when any trial ran."""

    first = last = None

    def on_trial_start(self, *args, **kwargs):
        self.first = self.first or time.monotonic()
        super().on_trial_start(*args, **kwargs)

    def on_trial_complete(self, *args, **kwargs):
        super().on_trial_complete(*args, **kwargs)
        self.last = time.monotonic()


def twice(config):
    """Two stretches of half a second."""
    for step in (10, 20) if ray.tune.get_checkpoint() is None else (20,):
        threading.Event().wait(0.5)
        with tempfile.TemporaryDirectory() as folder:
            ray.tune.report(
                {"step": step, "validation_loss": 1.0}, checkpoint=ray.tune.Checkpoint.from_directory(folder)
            )


def test_a_trial_that_is_paused_holds_nothing(local_ray, tmp_path):
    record = Record(Storage.open(tmp_path), "sweep")
    spent = Spent(JOB, record)
    watcher = Timed(JOB, Reporter(record, Voice()), spent)
    ray.tune.Tuner(
        ray.tune.with_resources(twice, {"cpu": 4}),  # all there is: one at a time
        param_space={"number": ray.tune.grid_search([0, 1])},
        tune_config=ray.tune.TuneConfig(
            metric="validation_loss",
            mode="min",
            scheduler=Turns(),
            trial_name_creator=lambda trial: f"trial-{trial.config['number']:05d}",
        ),
        run_config=ray.tune.RunConfig(
            name="turns", storage_path=str(tmp_path / "tune"), verbose=0, callbacks=[watcher]
        ),
    ).fit()
    each = [TrialFiles(record.storage, record.at(), number).ended.device_s for number in (0, 1)]
    assert min(each) >= 1.0, "a stretch is missing"
    assert sum(each) <= watcher.last - watcher.first, "what only waited was counted"
    assert spent.device_s == pytest.approx(sum(each))
