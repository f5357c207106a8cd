"""Six trials that share two GPUs, on a Ray that was told of GPUs which are not there. Each writes what it was given.

    python shared_gpus.py FOLDER

torch sees no GPU, so no trial trains here: what is tried is what Tune and Ray make of a trial's part.
"""

import json
import sys
from pathlib import Path

import ray
import ray.tune

from job_texts import TUNE, changed
from trainshed.runtime.tuning.search.searcher import Numbered
from trainshed.runtime.tuning.trial.resources import Limited, of_a_trial, room_now
from trainshed.spec.load import job_from_data
from waiting import wait_for

JOB = job_from_data(
    changed(
        TUNE,
        train__workers={"count": 1, "gpus": 1, "cpus": 1, "per_device_batch_size": 1},
        trials_per_device=3,
        search={"kind": "random", "trials": 8},
    )
)


def main(folder: Path) -> None:
    """Runs the trials; each ends when all six run at once."""
    ray.init("local", num_cpus=8, num_gpus=2, include_dashboard=False, log_to_driver=False)
    assert room_now(JOB) == 6
    search = Limited(Numbered(JOB, {}, []), JOB)
    assert [search.suggest(str(number)) is not None for number in range(8)] == [True] * 6 + [False] * 2
    search.on_trial_complete("3")
    assert search.suggest("8") is not None, "one has ended, and the next is not handed out"
    begun = folder / "begun"
    for name in ("begun", "trials"):
        (folder / name).mkdir()

    def trial(config):
        (begun / str(config["number"])).touch()
        wait_for(lambda: len(list(begun.iterdir())) == 6, limit_s=120)
        left = ray.available_resources().get("GPU", 0.0)
        found = {"gpus": ray.get_gpu_ids(), "left": left}
        (folder / "trials" / str(config["number"])).write_text(json.dumps(found))
        wait_for(lambda: len(list((folder / "trials").iterdir())) == 6, limit_s=120)
        ray.tune.report({"validation_loss": 0.0})

    results = ray.tune.Tuner(
        ray.tune.with_resources(trial, of_a_trial(JOB)),
        param_space={"number": ray.tune.grid_search(list(range(6)))},
        tune_config=ray.tune.TuneConfig(metric="validation_loss", mode="min"),
        run_config=ray.tune.RunConfig(name="shared", storage_path=str(folder / "tune"), verbose=0),
    ).fit()
    assert not results.errors, results.errors
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
