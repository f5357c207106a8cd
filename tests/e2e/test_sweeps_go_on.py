"""Sweeps whose drivers, workers or trials die come to what they would have come to; the second suite."""

import json
import re

import pytest

from small_jobs import write, write_code
from small_sweeps import LONGER, SWEEP, TRAIN, begun, driver_of, ended, result, told
from waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.fixture(scope="module")
def calm(platform, weeks):
    """A sweep that nothing happened to; what others are compared with."""
    asha = {"kind": "asha", "grace_steps": LONGER["validation"]["every_steps"], "reduction": 2}
    sweep = {**SWEEP, "train": LONGER, "stop_early": asha}
    platform.run("submit", write(weeks, sweep))
    return sweep


def kill_the_driver(platform):
    victim = wait_for(lambda: driver_of(platform))
    victim.kill()
    victim.wait()


def assert_equal(platform, run, calm, *, deaths):
    """No trial was lost, none ran twice, each came to what it came to in the calm sweep."""
    assert told(platform, run) == told(platform, calm["name"])
    events = [json.loads(line) for line in (platform.home / "runs" / run / "events.jsonl").read_text().splitlines()]
    ends = [event["trial"] for event in events if event["event"] == "trial" and event["state"] != "running"]
    assert sorted(ends) == sorted(set(ends)), "a trial ended twice"
    assert sum("the driver was killed by SIGKILL" in event.get("message", "") for event in events) == deaths


def test_a_sweep_whose_driver_dies_and_that_is_stopped_comes_to_the_same(platform, weeks, calm):
    run, trials = begun(platform, weeks, {**calm, "name": "paused-sweep"})
    wait_for(lambda: ended(trials), every_s=0.05)
    kill_the_driver(platform)
    dead_with = len(ended(trials))
    wait_for(lambda: len(ended(trials)) > dead_with, limit_s=240, every_s=0.05)
    platform.run("stop", run)
    assert result(platform, run)["state"] == "stopped"
    platform.run("resume", run)
    assert result(platform, run)["state"] == "succeeded"
    assert_equal(platform, run, calm, deaths=1)


def test_three_dead_drivers_lose_and_repeat_no_trial(platform, weeks, calm):
    run, trials = begun(platform, weeks, {**calm, "name": "shaken-sweep"})
    dead_with = 0
    for _ in range(3):
        wait_for(lambda dead_with=dead_with: len(ended(trials)) > dead_with, limit_s=240, every_s=0.05)
        kill_the_driver(platform)
        dead_with = len(ended(trials))
    wait_for(lambda: platform.has_ended(run), limit_s=240)
    assert platform.json("show", run)["state"] == "succeeded"
    assert_equal(platform, run, calm, deaths=3)


IDLE = '''
import threading
from pathlib import Path

from trainshed.runtime.tasks.causal_lm import CausalLmTask


class Idle(CausalLmTask):
    """At a rate of 0.02 it stops for ever before its first step, once."""

    def __init__(self, training, facts):
        super().__init__(training, facts)
        self.rate = training.optimizer.learning_rate

    def loss(self, forward, batch, *, label_smoothing):
        stood = Path(__file__).with_name("stood-at-first")
        if self.rate == 0.02 and not stood.exists():
            stood.touch()
            threading.Event().wait()
        return super().loss(forward, batch, label_smoothing=label_smoothing)
'''


def test_a_trial_that_never_begins_is_killed_after_its_time_to_start(platform, weeks):
    write_code(weeks, "idle", IDLE)
    train = {**TRAIN, "task": {"kind": "custom", "path": "idle:Idle"}}
    train["workers"] = {**TRAIN["workers"], "hang_timeout_s": 4, "start_timeout_s": 30}
    rates = {"optimizer.learning_rate": {"choice": [0.003, 0.02]}}
    sweep = {**SWEEP, "name": "idle", "train": train, "space": rates, "search": {"kind": "grid", "concurrent": 1}}
    platform.run("submit", write(weeks, {**sweep, "stop_early": {"kind": "none"}}))
    assert [state for _, _, _, state in told(platform, "idle")] == ["ended"] * 2
    said = (platform.folder("idle") / "logs" / "driver.log").read_text()
    waited = re.findall(r"trial-00001 has made no step for (\d+) s \(workers\.start_timeout_s is 30\), step 0", said)
    assert [int(seconds) >= 30 for seconds in waited] == [True]


LEAVING = '''
import os
import signal
from pathlib import Path

import torch.distributed as dist

from trainshed.runtime.tasks.causal_lm import CausalLmTask


class Leaving(CausalLmTask):
    """The second worker is killed in its 30th pass, once."""

    def __init__(self, training, facts):
        super().__init__(training, facts)
        self.passes, self.settings = 0, training.task.settings

    def loss(self, forward, batch, *, label_smoothing):
        self.passes += 1
        left = Path(self.settings["left"])
        if self.passes == 30 and dist.get_rank() == 1 and not left.exists():
            left.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(forward, batch, label_smoothing=label_smoothing)
'''


def test_a_trial_of_two_workers_goes_on_where_one_is_killed(platform, weeks):
    write_code(weeks, "leaving", LEAVING)
    left = weeks / "left"
    train = {**TRAIN, "task": {"kind": "custom", "path": "leaving:Leaving", "settings": {"left": str(left)}}}
    train["workers"] = {"count": 2, "per_device_batch_size": 2}
    rates = {"optimizer.learning_rate": {"choice": [0.02]}}
    sweep = {**SWEEP, "name": "leaving", "train": train, "space": rates, "search": {"kind": "grid"}}
    platform.run("submit", write(weeks, {**sweep, "stop_early": {"kind": "none"}}))
    assert [state for _, _, _, state in told(platform, "leaving")] == ["ended"]
    assert left.exists(), "nobody was killed"
    logs = platform.folder("leaving") / "trials" / "trial-00000" / "logs"
    assert {path.name for path in logs.iterdir()} == {"worker-0.log", "worker-1.log"}
