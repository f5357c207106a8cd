"""What trials ask Ray for, how many there is room for, and that Ray runs as many at once: on GPUs it believes in."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from job_texts import TUNE, changed
from paths import ROOT
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.runtime.tuning.scheduling.stoppers import Spent
from trainshed.runtime.tuning.trial.resources import at_once, of_a_trial
from trainshed.runtime.tuning.trial.training import fraction_of
from trainshed.spec.load import job_from_data
from trainshed.spec.plan.limits import CUDA_BYTES
from trainshed.spec.sweep.capacity import room_for


def job(trials_per_device=1, count=1, gpus=1, cpus=1):
    workers = {"count": count, "gpus": gpus, "cpus": cpus, "per_device_batch_size": 1}
    return job_from_data(changed(TUNE, train__workers=workers, trials_per_device=trials_per_device))


@pytest.mark.parametrize("trials", [2, 3, 6, 7, 9, 49, 100])
def test_all_parts_of_a_gpu_make_no_more_than_one(trials):
    part = of_a_trial(job(trials))["GPU"]
    assert part * 10_000 == pytest.approx(round(part * 10_000)), "Ray would round it"
    assert 1 - trials * 1e-4 <= part * trials <= 1


def test_a_trial_asks_for_what_its_worker_holds_or_for_the_places_of_several():
    assert of_a_trial(job()) == {"CPU": 1, "GPU": 1}
    assert of_a_trial(job(gpus=0)) == {"CPU": 1}
    assert of_a_trial(job(4)) == {"CPU": 1, "GPU": 0.25}
    several = of_a_trial(job(count=2))
    assert several.bundles == [{"CPU": 1, "GPU": 1}] * 2
    assert several.head_bundle_is_empty, "the trial itself would hold a place beside its workers"


@pytest.mark.parametrize(
    ("asked", "nodes", "room"),
    [
        (job(3), [{"CPU": 16, "GPU": 2}], 6),
        (job(6), [{"CPU": 16, "GPU": 2}], 12),
        (job(3), [{"CPU": 4, "GPU": 2}], 4),
        (job(gpus=0.4), [{"CPU": 16, "GPU": 2}], 4),
        (job(gpus=0.2), [{"CPU": 16, "GPU": 2}], 10),
        (job(gpus=0, cpus=0.1), [{"CPU": 1}], 10),
        (job(gpus=2), [{"CPU": 16, "GPU": 1}, {"CPU": 16, "GPU": 3}], 1),
        (job(gpus=0, cpus=3), [{"CPU": 4}, {"CPU": 4}], 2),
        (job(gpus=0, count=2), [{"CPU": 3}, {"CPU": 2}], 2),
        (job(), [{"CPU": 4}], 0),
    ],
)
def test_there_is_room_for_so_many_trials_at_once(asked, nodes, room):
    assert room_for(asked, nodes) == room


def test_as_many_run_at_once_as_asked_or_as_there_is_room_for():
    asked, two = job(gpus=0), job_from_data(changed(TUNE, search__trials=9, search__concurrent=2))
    assert asked.search.concurrent == "auto"
    assert [at_once(asked, room) for room in (0, 1, 5)] == [1, 1, 2], "TUNE has two trials"
    assert [at_once(two, room) for room in (0, 1, 5)] == [2, 2, 2]


def test_device_hours_are_those_of_the_part_that_a_trial_holds(tmp_path):
    def held(trials_per_device):
        record = Record(Storage.open(tmp_path), f"sweep-{trials_per_device}")
        spent = Spent(job(trials_per_device), record)
        spent.begins(0)
        before = spent.wall_s
        while spent.wall_s - before < 0.05:
            pass
        return spent.ends(0) / spent.wall_s

    assert held(4) == pytest.approx(0.25, rel=0.2)
    assert held(1) == pytest.approx(1.0, rel=0.2)


def test_torch_may_take_a_trials_part_less_what_is_cudas():
    memory = 24 * 10**9
    assert fraction_of(memory, 0.5) == pytest.approx(0.46)
    assert fraction_of(memory, 0.1) * memory == pytest.approx(memory / 10 - CUDA_BYTES)
    assert all(trials * fraction_of(memory, 1 / trials) < 0.93 for trials in range(2, 30))


@pytest.mark.slow
def test_on_two_gpus_twice_the_trials_of_one_run_at_a_time(tmp_path):
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    environment = {
        **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        "RAY_AUTH_TOKEN_PATH": str(token),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "platform"), str(ROOT / "tests")]),
    }
    command = [sys.executable, str(Path(__file__).with_name("shared_gpus.py")), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    together = [json.loads(path.read_text()) for path in (tmp_path / "trials").iterdir()]
    gpus = [gpu for found in together for gpu in found["gpus"]]
    assert len(together) == 6
    assert {gpu: gpus.count(gpu) for gpu in gpus} == {0: 3, 1: 3}
    assert all(found["left"] == pytest.approx(2 - 6 * 0.3333) for found in together), "Ray gave out other parts"
