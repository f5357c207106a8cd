"""`--profile` and PLATFORM_PROFILE on submit, check and plan: the command, as a user calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from job_texts import PREPARE, TRAIN, TUNE, changed, text
from paths import ROOT

LAPTOP, CLOUD = str(ROOT / "cluster" / "laptop.yaml"), str(ROOT / "cluster" / "gpu-cloud.yaml")
MONEY = text(PREPARE, changed(TUNE, budget={"money": 5.0}))


@pytest.fixture
def platform(tmp_path):
    def run(*arguments, job=MONEY, **variables):
        file = tmp_path / "job.yaml"
        file.write_text(job)
        environment = {**os.environ, "PLATFORM_HOME": str(tmp_path), "PLATFORM_STORAGE": str(tmp_path / "storage")}
        for name in ("PLATFORM_ADDRESS", "RAY_ADDRESS", "PLATFORM_PROFILE"):
            environment.pop(name, None)
        command = [sys.executable, "-m", "trainshed.cli", arguments[0], str(file), *arguments[1:]]
        return subprocess.run(command, capture_output=True, text=True, env={**environment, **variables}, check=False)

    return run


def test_money_needs_a_price_of_the_job_or_of_a_profile(platform):
    done = platform("check")
    assert done.returncode == 2
    assert "job.yaml:" in done.stderr
    assert "budget.money: needs what one device costs for one hour: say budget.price, or give --profile" in done.stderr
    assert platform("check", "--profile", LAPTOP).returncode == 0
    assert platform("check", PLATFORM_PROFILE=LAPTOP).returncode == 0
    assert platform("check", "--set", "sweep.budget.price=0.1").returncode == 0


def test_the_plan_says_what_a_device_hour_costs_and_where_that_is_from(platform):
    done = platform("plan", "--profile", LAPTOP)
    assert done.returncode == 0, done.stderr
    assert (
        "a device-hour costs 0.01 EUR (profile laptop, node type laptop: 0.08 EUR an hour for 8 CPU(s)" in done.stdout
    )
    assert "while it loads: at most" in done.stdout
    (found,) = json.loads(platform("plan", "--profile", LAPTOP, "--json").stdout)
    assert found["price"]["amount"] == pytest.approx(0.01)
    dry = platform("submit", "--dry-run", PLATFORM_PROFILE=CLOUD)
    assert "a device-hour costs 0.0375 USD" in dry.stdout
    both = platform("plan", "--profile", LAPTOP, PLATFORM_PROFILE=CLOUD)
    assert "EUR" in both.stdout, "the option wins over the variable"


def test_the_job_that_is_handed_over_has_the_number(platform):
    done = platform("check", "--profile", LAPTOP, "--json")
    _, sweep = json.loads(done.stdout)
    assert sweep["budget"]["price"] == pytest.approx(0.01)
    assert sweep["budget"]["currency"] == "EUR"
    assert sweep["budget"]["price_from"].startswith("profile laptop, node type laptop: 0.08 EUR an hour")


def test_what_no_machine_can_hold_is_refused_with_3(platform):
    done = platform("plan", "--profile", LAPTOP, job=text(PREPARE, changed(TRAIN, workers__gpus=1)))
    assert done.returncode == 3
    assert "no node type of the profile laptop can hold a worker; the nearest, laptop, has 0 GPU(s) of 1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_profile_is_refused_with_its_line(platform, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(Path(LAPTOP).read_text().replace("cpus:", "cpu:"))
    done = platform("plan", "--profile", str(wrong))
    assert done.returncode == 2
    assert f"{wrong}:8: node_types.laptop.cpu: unknown key; did you mean 'cpus'?" in done.stderr
    assert platform("plan", "--profile", str(tmp_path / "none.yaml")).stderr.strip().endswith("none.yaml: no such file")


def test_a_wrong_profile_and_a_wrong_job_are_told_together(platform, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(Path(LAPTOP).read_text().replace("cpus:", "cpu:"))
    done = platform("check", "--profile", str(wrong), job=text(PREPARE, changed(TRAIN, optimzer={})))
    assert done.returncode == 2
    assert "optimzer: unknown key; did you mean 'optimizer'?" in done.stderr
    assert f"{wrong}:8: node_types.laptop.cpu: unknown key; did you mean 'cpus'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_how_many_trials_share_a_device_stands_in_the_plan_and_in_the_job(platform):
    workers = {"count": 1, "gpus": 1, "gpu_type": "L4", "per_device_batch_size": 2}
    values = {"train__workers": workers, "search": {"kind": "random", "trials": 8, "concurrent": 4}}
    values["space"] = {"model.layers": {"integer": [1, 4]}}
    job = text(PREPARE, changed(TUNE, trials_per_device="auto", **values))
    done = platform("plan", job=job)
    assert "the largest trial (model.layers 4) needs " in done.stdout
    assert "4 trials share a device" in done.stdout
    assert json.loads(platform("check", "--json", job=job).stdout)[1]["trials_per_device"] == 4
    assert platform("check", job=text(PREPARE, changed(TUNE, trials_per_device=4))).returncode == 2
