"""Sweeps on a real cluster: what survives dead drivers, what ends them, and populations that really exchange."""

import json
import re

import psutil
import pytest
import yaml

from waiting import wait_for

pytestmark = pytest.mark.slow

PREPARE = {
    "kind": "prepare",
    "name": "weeks",
    "source": {"kind": "jsonl", "path": "weeks.jsonl"},
    "tokenizer": {"kind": "train_bpe", "vocab_size": 300},
    "pack": {"block_size": 16},
    "split": {"validation": 0.2},
}
TRAIN = {
    "model": {"kind": "gpt2", "layers": 1, "heads": 2, "width": 16},
    "data": "run://weeks",
    "optimizer": {"kind": "adamw", "learning_rate": 0.003},
    "workers": {"count": 1, "per_device_batch_size": 4},
    "global_batch_size": 4,
    "steps": 60,
    "validation": {"every_steps": 20, "max_samples": 8},
    "checkpoint": {"every_steps": 20},
    "self_test": False,
}
LONGER = {**TRAIN, "steps": 360, "validation": {"every_steps": 120, "max_samples": 8}}
SWEEP = {
    "kind": "tune",
    "name": "calm-sweep",
    "train": TRAIN,
    "space": {"optimizer.learning_rate": {"log_uniform": [0.001, 0.1]}},
    "search": {"kind": "random", "trials": 6, "concurrent": 1, "seed": 3},
    "stop_early": {"kind": "asha", "grace_steps": 20, "reduction": 2},
}


@pytest.fixture(scope="module")
def folder(platform, tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    rows = [{"text": f"In week {n} the {'fox' if n % 2 else 'hen'} ran {n % 7} miles. " * 9} for n in range(60)]
    (folder / "weeks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    platform.run("submit", write(folder, PREPARE))
    return folder


def write(folder, *documents):
    file = folder / f"{'-'.join(one['name'] for one in documents)}.yaml"
    file.write_text("---\n".join(yaml.safe_dump(one, sort_keys=False) for one in documents))
    return file


def result(platform, name):
    return platform.json("show", name)["result"]


def told(platform, name):
    """What each trial came to, and the steps it trained, each once."""
    folder = platform.folder(name)
    steps = {
        path.parent.name: [json.loads(line)["step"] for line in path.read_text().splitlines()]
        for path in folder.glob("trials/*/metrics.jsonl")
    }
    assert all(found == list(range(1, len(found) + 1)) for found in steps.values()), "a step stands twice"
    trials = result(platform, name)["trials"]
    return [(trial["trial"], trial["settings"], trial["history"], trial["state"]) for trial in trials]


def driver_of(platform):
    head = psutil.Process(platform.json("cluster", "up")["pid"])
    for child in head.children(recursive=True):
        try:
            if "trainshed.runtime submission.json" in " ".join(child.cmdline()):
                return child
        except psutil.NoSuchProcess:
            continue
    return None


@pytest.fixture(scope="module")
def calm(platform, folder):
    """A sweep that nothing happened to; what others are compared with."""
    asha = {"kind": "asha", "grace_steps": LONGER["validation"]["every_steps"], "reduction": 2}
    sweep = {**SWEEP, "train": LONGER, "stop_early": asha}
    platform.run("submit", write(folder, sweep))
    return sweep


def begun(platform, folder, sweep):
    """A sweep that nobody follows: its run, and the folder of its trials."""
    run = platform.json("submit", write(folder, sweep), "--detach")["runs"][0]
    return run, platform.home / "runs" / run / "trials"


def ended(trials):
    return {path.parent.name: path.read_text() for path in trials.glob("*/ended.json")}


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


@pytest.mark.faults
def test_a_sweep_whose_driver_dies_and_that_is_stopped_comes_to_the_same(platform, folder, calm):
    run, trials = begun(platform, folder, {**calm, "name": "paused-sweep"})
    wait_for(lambda: ended(trials), every_s=0.05)
    kill_the_driver(platform)
    dead_with = len(ended(trials))
    wait_for(lambda: len(ended(trials)) > dead_with, limit_s=240, every_s=0.05)
    platform.run("stop", run)
    assert result(platform, run)["state"] == "stopped"
    platform.run("resume", run)
    assert result(platform, run)["state"] == "succeeded"
    assert_equal(platform, run, calm, deaths=1)


def test_a_sweep_that_is_stopped_and_has_no_budget_left_goes_on(platform, folder):
    sweep = {**SWEEP, "name": "paused", "train": LONGER, "search": {**SWEEP["search"], "trials": 3}}
    run, trials = begun(platform, folder, {**sweep, "stop_early": {"kind": "none"}})
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


@pytest.mark.faults
def test_three_dead_drivers_lose_and_repeat_no_trial(platform, folder, calm):
    run, trials = begun(platform, folder, {**calm, "name": "shaken-sweep"})
    dead_with = 0
    for _ in range(3):
        wait_for(lambda dead_with=dead_with: len(ended(trials)) > dead_with, limit_s=240, every_s=0.05)
        kill_the_driver(platform)
        dead_with = len(ended(trials))
    wait_for(lambda: platform.json("show", run)["state"] == "succeeded", limit_s=240)
    assert_equal(platform, run, calm, deaths=3)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("kind", "workers"),
    [("pbt", 1), ("pbt", 2), ("pb2", 1)],
)
def test_a_bad_member_of_a_population_goes_on_from_a_good_ones_weights(platform, folder, kind, workers):
    name = f"{kind}-{workers}"
    steps = {"pbt": 60, "pb2": 120}[kind]  # PB2 replaces nobody before it has looked at a good one twice
    population = {
        **SWEEP,
        "name": name,
        "train": {**TRAIN, "steps": steps, "workers": {"count": workers, "per_device_batch_size": 4 // workers}},
        "search": {"kind": "random", "trials": 4, "seed": 1},
        "space": {
            "optimizer.learning_rate": {"log_uniform": [0.00001, 0.03]},
            "regularization.label_smoothing": {"uniform": [0.0, 0.4]},
        },
        "stop_early": {"kind": kind, "interval_steps": 20},
    }
    again = {"kind": "train", "name": f"again-{name}", "from_best": f"run://{name}"}
    platform.run("submit", write(folder, population, again))
    trials = {trial["trial"]: trial for trial in result(platform, name)["trials"]}
    assert [trial["state"] for trial in trials.values()] == ["ended"] * 4
    changed = [trial for trial in trials.values() if trial["took_over"]]
    assert changed, "nobody was replaced"
    for trial in changed:
        taken = trial["took_over"][-1]
        mine, theirs = rows_of(platform, name, trial["trial"]), rows_of(platform, name, taken["from"])
        assert mine[: taken["step"]] != []
        if not trials[taken["from"]]["took_over"]:  # its own story did not change afterwards
            assert mine[: taken["step"]] == theirs[: taken["step"]], "the weights are not the other's"
        assert mine[taken["step"]][1] != mine[taken["step"] - 1][1], "the learning rate did not change"
    best = result(platform, name)["best"]
    _, rates, losses = zip(*rows_of(platform, name, best["trial"]), strict=True)
    again = platform.json("show", f"again-{name}")["metrics"]
    assert [row["learning_rate"] for row in again] == pytest.approx(rates), "the rates found are not replayed"
    assert [row["train_loss"] for row in again] == pytest.approx(losses, rel=1e-4), "other settings are not replayed"
    left = {path.parents[1].name for path in platform.folder(name).glob("trials/*/checkpoints/step-*")}
    assert left == {best["trial"]}, "checkpoints of other members"
    spent, places = result(platform, name)["spent"], platform.json("cluster", "up")["cpus"] // workers * workers
    assert 0 < spent["device_hours"] <= places * spent["hours"], "what only waited was counted"


def rows_of(platform, sweep, trial):
    lines = (platform.folder(sweep) / "trials" / trial / "metrics.jsonl").read_text().splitlines()
    return [(row["step"], row["learning_rate"], row["train_loss"]) for row in map(json.loads, lines)]


def test_folds_are_compared_by_their_mean(platform, folder):
    folded = {**SWEEP, "name": "folded", "folds": 3, "search": {"kind": "grid"}, "stop_early": {"kind": "none"}}
    folded["space"] = {"optimizer.learning_rate": {"choice": [0.01]}}
    folded["train"] = {**TRAIN, "steps": 20}
    platform.run("submit", write(folder, folded))
    (trial,) = result(platform, "folded")["trials"]
    files = platform.folder("folded") / "trials" / trial["trial"]
    finals = []
    for fold in range(3):
        rows = [json.loads(line) for line in (files / f"fold-{fold}" / "metrics.jsonl").read_text().splitlines()]
        finals.append(rows[-1]["validation_loss"])
    assert len(set(finals)) == 3
    assert trial["history"] == [[20, pytest.approx(finals[0])], [40, pytest.approx(sum(finals[:2]) / 2)],
                                [60, pytest.approx(sum(finals) / 3)]]  # fmt: skip
    assert not list(files.glob("**/checkpoints/step-*")), "nothing can be exported of several trainings"


def test_a_model_is_registered_also_where_the_best_trial_was_stopped_early_or_stopped_itself(platform, folder):
    """The higher loss is sought: the second trial is behind at step 20 and stopped, and better than what the first
    comes to, so it is trained to its end before it is registered."""
    rates = {"optimizer.learning_rate": {"choice": [0.001, 0.0015]}}
    turned = {**SWEEP, "space": rates, "goal": "maximize", "search": {"kind": "grid", "concurrent": 1}}
    trained_on = {**turned, "name": "trained-on", "register": "first-model", "best_among": "all"}
    waits = {**TRAIN, "regularization": {"early_stopping": {"patience": 1, "min_delta": 100.0}}}
    weary = {**SWEEP, "name": "weary", "train": waits, "register": "second-model", "search": {"kind": "grid"}}
    weary["space"] = {"optimizer.learning_rate": {"choice": [0.5]}}
    platform.run("submit", write(folder, trained_on, weary))
    for name, model, best in (("trained-on", "first", 1), ("weary", "second", 0)):
        found = result(platform, name)
        assert (found["registered"], found["best"]["trial"]) == (f"{model}-model@1", f"trial-0000{best}")
        lineage = platform.json("show", name)["lineage"]
        assert lineage["trial"]["trial"] == found["best"]["trial"]
        assert loss_of_export(platform, name) == pytest.approx(found["best"]["value"], rel=1e-5)
        left = {path.parents[1].name for path in platform.folder(name).glob("trials/*/checkpoints/step-*")}
        assert left == {found["best"]["trial"]}
        assert not (platform.folder(name) / "tune").exists(), "Ray Tune's own folder"
    first, early = result(platform, "trained-on")["trials"]
    assert early["history"][0][1] > first["value"], "it was not the best when it was stopped"
    assert (early["state"], [step for step, _ in early["history"]]) == ("ended", [20, 40, 60])
    events = map(json.loads, (platform.folder("trained-on") / "events.jsonl").read_text().splitlines())
    assert [one["state"] for one in events if one.get("trial") == early["trial"]] == ["running", "stopped early"]
    (itself,) = result(platform, "weary")["trials"]
    assert (itself["state"], itself["by"], itself["history"][-1][0]) == ("ended", "early_stopping", 40)
    best = min(itself["history"], key=lambda one: one[1])
    assert itself["value"] == best[1]
    assert platform.json("show", "weary")["lineage"]["checkpoint"]["step"] == best[0]


def loss_of_export(platform, name):
    """Of the exported model over what its training held out, by its own checkpoint's words."""
    found = json.loads((platform.folder(name) / "lineage.json").read_text())["checkpoint"]
    manifest = json.loads((platform.folder(name) / found["folder"] / "manifest.json").read_text())
    return manifest["metrics"]["validation_loss"]


def test_errors_of_the_code_end_a_sweep_after_a_stated_number(platform, folder):
    (folder / "broken.py").write_text("class Broken:\n    pass\n")
    broken = {**SWEEP, "name": "broken", "failures": {"code_errors": 2}, "stop_early": {"kind": "none"}}
    broken["train"] = {**TRAIN, "task": {"kind": "custom", "path": "broken:Broken"}}
    done = platform.run("submit", write(folder, broken), code=1)
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


def test_a_trial_that_stands_still_or_has_no_memory_is_tried_again_and_a_steep_one_is_no_error_of_the_code(
    platform, folder
):
    (folder / "stumbling.py").write_text(STUMBLING)
    train = {**TRAIN, "task": {"kind": "custom", "path": "stumbling:Stumbling"}}
    train["workers"] = {**TRAIN["workers"], "hang_timeout_s": 8}
    rates = {"optimizer.learning_rate": {"choice": [0.003, 0.02, 0.03, 0.04]}}
    search, failures = {"kind": "grid", "concurrent": 1}, {"code_errors": 1}
    sweep = {**SWEEP, "name": "stumbling", "train": train, "space": rates, "search": search, "failures": failures}
    platform.run("submit", write(folder, {**sweep, "stop_early": {"kind": "none"}}))
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


@pytest.mark.faults
def test_a_trial_that_never_begins_is_killed_after_its_time_to_start(platform, folder):
    (folder / "idle.py").write_text(IDLE)
    train = {**TRAIN, "task": {"kind": "custom", "path": "idle:Idle"}}
    train["workers"] = {**TRAIN["workers"], "hang_timeout_s": 4, "start_timeout_s": 30}
    rates = {"optimizer.learning_rate": {"choice": [0.003, 0.02]}}
    sweep = {**SWEEP, "name": "idle", "train": train, "space": rates, "search": {"kind": "grid", "concurrent": 1}}
    platform.run("submit", write(folder, {**sweep, "stop_early": {"kind": "none"}}))
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


@pytest.mark.faults
def test_a_trial_of_two_workers_goes_on_where_one_is_killed(platform, folder):
    (folder / "leaving.py").write_text(LEAVING)
    left = folder / "left"
    train = {**TRAIN, "task": {"kind": "custom", "path": "leaving:Leaving", "settings": {"left": str(left)}}}
    train["workers"] = {"count": 2, "per_device_batch_size": 2}
    rates = {"optimizer.learning_rate": {"choice": [0.02]}}
    sweep = {**SWEEP, "name": "leaving", "train": train, "space": rates, "search": {"kind": "grid"}}
    platform.run("submit", write(folder, {**sweep, "stop_early": {"kind": "none"}}))
    assert [state for _, _, _, state in told(platform, "leaving")] == ["ended"]
    assert left.exists(), "nobody was killed"
    logs = platform.folder("leaving") / "trials" / "trial-00000" / "logs"
    assert {path.name for path in logs.iterdir()} == {"worker-0.log", "worker-1.log"}


@pytest.mark.faults
def test_the_median_rule_and_hyperband_end_the_worse_trials(platform, folder):
    rates = {"optimizer.learning_rate": {"choice": [0.01, 0.011, 0.012, 1e-7, 2e-7, 3e-7]}}
    search = {"kind": "grid", "concurrent": 1}
    median = {**SWEEP, "name": "by-median", "space": rates, "search": {**search, "concurrent": 6}}  # some wait for room
    median["stop_early"] = {"kind": "median", "grace_steps": 20, "min_trials": 3}
    hyperband = {**median, "name": "by-hyperband", "search": search}
    hyperband["stop_early"] = {"kind": "hyperband", "grace_steps": 20, "reduction": 2, "brackets": 2}
    platform.run("submit", write(folder, median, hyperband))
    for name in ("by-median", "by-hyperband"):
        trials = result(platform, name)["trials"]
        early = [trial for trial in trials if trial["state"] == "stopped early"]
        assert early
        assert all(trial["settings"]["optimizer.learning_rate"] < 1e-6 for trial in early)
        assert {trial["by"] for trial in early} == {name.removeprefix("by-")}
        logs = [platform.folder(name) / "trials" / trial["trial"] / "logs" / "worker-0.log" for trial in trials]
        assert [log.read_text().count("worker 0 of 1") for log in logs] == [1] * 6, "a trial was paused"
        assert result(platform, name)["best"]["settings"]["optimizer.learning_rate"] >= 0.01


@pytest.mark.faults
def test_two_sweeps_on_one_store_leave_each_other_alone_and_say_what_they_wait_for(platform, folder):
    wide = {**SWEEP, "name": "wide", "search": {"kind": "random", "trials": 6, "concurrent": 6, "seed": 3}}
    wide["stop_early"] = {"kind": "none"}
    first = platform.json("submit", write(folder, wide), "--detach")["runs"][0]
    second = platform.json("submit", write(folder, wide), "--detach")["runs"][0]
    assert first != second
    for run in (first, second):
        wait_for(lambda run=run: platform.json("show", run)["state"] == "succeeded", limit_s=240)
    assert told(platform, first) == told(platform, second)
    assert len(told(platform, first)) == 6
    said = (platform.folder(first) / "logs" / "driver.log").read_text()
    assert "of 6 trials at once (1 CPU each): the others wait" in said
