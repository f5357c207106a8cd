"""Populations that really exchange, rules that end the worse trials, two sweeps on one store; the second suite."""

import json

import pytest

from small_jobs import write
from small_sweeps import SWEEP, TRAIN, result, told
from waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.mark.parametrize(
    ("kind", "workers"),
    [("pbt", 1), ("pbt", 2), ("pb2", 1)],
)
def test_a_bad_member_of_a_population_goes_on_from_a_good_ones_weights(platform, weeks, kind, workers):
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
    platform.run("submit", write(weeks, population, again))
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


def test_the_median_rule_and_hyperband_end_the_worse_trials(platform, weeks):
    rates = {"optimizer.learning_rate": {"choice": [0.01, 0.011, 0.012, 1e-7, 2e-7, 3e-7]}}
    search = {"kind": "grid", "concurrent": 1}
    median = {**SWEEP, "name": "by-median", "space": rates, "search": {**search, "concurrent": 6}}  # some wait for room
    median["stop_early"] = {"kind": "median", "grace_steps": 20, "min_trials": 3}
    hyperband = {**median, "name": "by-hyperband", "search": search}
    hyperband["stop_early"] = {"kind": "hyperband", "grace_steps": 20, "reduction": 2, "brackets": 2}
    platform.run("submit", write(weeks, median, hyperband))
    for name in ("by-median", "by-hyperband"):
        trials = result(platform, name)["trials"]
        early = [trial for trial in trials if trial["state"] == "stopped early"]
        assert early
        assert all(trial["settings"]["optimizer.learning_rate"] < 1e-6 for trial in early)
        assert {trial["by"] for trial in early} == {name.removeprefix("by-")}
        logs = [platform.folder(name) / "trials" / trial["trial"] / "logs" / "worker-0.log" for trial in trials]
        assert [log.read_text().count("worker 0 of 1") for log in logs] == [1] * 6, "a trial was paused"
        assert result(platform, name)["best"]["settings"]["optimizer.learning_rate"] >= 0.01


def test_two_sweeps_on_one_store_leave_each_other_alone_and_say_what_they_wait_for(platform, weeks):
    wide = {**SWEEP, "name": "wide", "search": {"kind": "random", "trials": 6, "concurrent": 6, "seed": 3}}
    wide["stop_early"] = {"kind": "none"}
    first = platform.json("submit", write(weeks, wide), "--detach")["runs"][0]
    second = platform.json("submit", write(weeks, wide), "--detach")["runs"][0]
    assert first != second
    for run in (first, second):
        wait_for(lambda run=run: platform.has_ended(run), limit_s=240)
        assert platform.json("show", run)["state"] == "succeeded"
    assert told(platform, first) == told(platform, second)
    assert len(told(platform, first)) == 6
    said = (platform.folder(first) / "logs" / "driver.log").read_text()
    assert "of 6 trials at once (1 CPU each): the others wait" in said
