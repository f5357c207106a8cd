"""The process of a trial, under Ray Tune: what it does between one trial and the next."""

import time
from pathlib import Path

import pytest
import ray.tune

from trainshed.runtime.tuning.entry import run_trial

pytestmark = pytest.mark.slow

ENDING_S = 4  # over the 2 s that Ray Tune waits by itself


def slow_to_end(config):
    """Reports once, and is not over for a while."""
    try:
        ray.tune.report({"loss": float(config["number"])})
    finally:
        time.sleep(ENDING_S)


def test_a_trial_that_is_slow_to_end_does_not_cost_the_next_one(local_ray, tmp_path):
    slow_to_end.__mixins__ = run_trial.__mixins__
    tuner = ray.tune.Tuner(
        ray.tune.with_parameters(slow_to_end),
        param_space={"number": ray.tune.grid_search([0, 1, 2])},
        tune_config=ray.tune.TuneConfig(metric="loss", mode="min", max_concurrent_trials=1, reuse_actors=True),
        run_config=ray.tune.RunConfig(
            name="slow", storage_path=str(tmp_path), verbose=0, stop={"training_iteration": 1}
        ),
    )
    results = tuner.fit()
    assert [result.error for result in results] == [None] * 3
    assert sorted(result.metrics["loss"] for result in results) == [0.0, 1.0, 2.0]
    pids = {result.metrics["pid"] for result in results}
    assert len(pids) == 1, "the trials took turns in one process"
    assert Path(results[0].path).is_dir()
