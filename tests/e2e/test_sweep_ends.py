"""What ends sweeps and trials on a real cluster: a stop, a budget, errors of the code, trials that stand still."""

import json

import pytest

from small_jobs import write, write_code
from small_sweeps import LONGER, SWEEP, TRAIN, begun, ended, result, told
from waiting import wait_for

pytestmark = pytest.mark.slow


def test_a_sweep_that_is_stopped_and_has_no_budget_left_goes_on(platform, weeks):
    sweep = {**SWEEP, "name": "paused", "train": LONGER, "search": {**SWEEP["search"], "trials": 3}}
    run, trials = begun(platform, weeks, {**sweep, "stop_early": {"kind": "none"}})
    wait_for(lambda: ended(trials), every_s=0.05)
    platform.run("stop", run)
    assert result(platform, run)["state"] == "stopped"
    before = ended(trials)
    assert 1 <= len(before) < 3
    platform.run("resume", run, "--set", "budget.hours=0.0001", code=5)
    found = result(platform, run)
    assert found["state"] == "budget_reached"
    assert found["limit"].startswith("budget.hours: 0.0001 hours are over")
    assert found["best"]["value"] is not None
    platform.run("resume", run, "--set", "budget.hours=1.0")
    assert result(platform, run)["state"] == "succeeded"
    assert {name: ended(trials)[name] for name in before} == before
    assert [state for _, _, _, state in told(platform, run)] == ["ended"] * 3


def test_errors_of_the_code_end_a_sweep_after_a_stated_number(platform, weeks):
    write_code(weeks, "broken", "class Broken:\n    pass\n")
    broken = {**SWEEP, "name": "broken", "failures": {"code_errors": 2}, "stop_early": {"kind": "none"}}
    broken["train"] = {**TRAIN, "task": {"kind": "custom", "path": "broken:Broken"}}
    done = platform.run("submit", write(weeks, broken), code=1)
    assert "no trial came to a metric" in done.stdout
    assert "failed with: task.path: broken:Broken lacks" in done.stdout
    assert 2 <= len(list((platform.folder("broken") / "trials").iterdir())) <= 3, "the others were run all the same"


STUMBLING = '''
import threading
from pathlib import Path

import torch

from trainshed.runtime.tasks.causal_lm import CausalLmTask


class Stumbling(CausalLmTask):
    """At a rate of 0.02 it stops for ever in its 30th pass, once; at 0.03 a pass over 4 samples asks for too much; at
    0.04 the gradient overflows, and the loss does not."""

    def __init__(self, training, facts):
        super().__init__(training, facts)
        self.rate, self.passes = training.optimizer.learning_rate, 0

    def loss(self, forward, batch, *, label_smoothing):
        self.passes += 1
        stood = Path(__file__).with_name("stood")
        if self.rate == 0.02 and self.passes == 30 and not stood.exists():
            stood.touch()
            threading.Event().wait()
        if self.rate == 0.03 and len(batch["input_ids"]) == 4:
            torch.empty(2**60)
        loss = super().loss(forward, batch, label_smoothing=label_smoothing)
        return loss + (loss - loss.detach()) * 1e38 * 1e38 if self.rate == 0.04 else loss
'''


@pytest.mark.faults  # each fault by itself is in tests/runtime/tuning and tests/runtime/watch
def test_a_trial_that_stands_still_or_has_no_memory_is_tried_again_and_a_steep_one_is_no_error_of_the_code(
    platform, weeks
):
    write_code(weeks, "stumbling", STUMBLING)
    train = {**TRAIN, "task": {"kind": "custom", "path": "stumbling:Stumbling"}}
    train["workers"] = {**TRAIN["workers"], "hang_timeout_s": 8}
    rates = {"optimizer.learning_rate": {"choice": [0.003, 0.02, 0.03, 0.04]}}
    search, failures = {"kind": "grid", "concurrent": 1}, {"code_errors": 1}
    sweep = {**SWEEP, "name": "stumbling", "train": train, "space": rates, "search": search, "failures": failures}
    platform.run("submit", write(weeks, {**sweep, "stop_early": {"kind": "none"}}))
    assert [state for _, _, _, state in told(platform, "stumbling")] == ["ended"] * 3 + ["failed"]
    steep = json.loads((platform.folder("stumbling") / "trials" / "trial-00003" / "ended.json").read_text())
    assert steep["kind"] == "diverged", steep["cause"]
    assert result(platform, "stumbling")["state"] == "succeeded", "the sweep ended as at an error of the code"
    said = (platform.folder("stumbling") / "logs" / "driver.log").read_text()
    assert "trial-00001 has made no step for" in said
    assert said.count("killed, it goes on from the newest checkpoint") == 1
    facts = json.loads((platform.folder("stumbling") / "trials" / "trial-00002" / "trial.json").read_text())
    assert facts["training"]["workers"]["per_device_batch_size"] == 2
    assert facts["training"]["global_batch_size"] == TRAIN["global_batch_size"]
