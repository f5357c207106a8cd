"""What a sweep on a real cluster comes to: the mean of folds, a model that is registered."""

import json

import pytest

from small_jobs import write
from small_sweeps import SWEEP, TRAIN, result

pytestmark = pytest.mark.slow


def test_folds_are_compared_by_their_mean(platform, weeks):
    folded = {**SWEEP, "name": "folded", "folds": 3, "search": {"kind": "grid"}, "stop_early": {"kind": "none"}}
    folded["space"] = {"optimizer.learning_rate": {"choice": [0.01]}}
    folded["train"] = {**TRAIN, "steps": 20}
    platform.run("submit", write(weeks, folded))
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


def test_a_model_is_registered_also_where_the_best_trial_was_stopped_early_or_stopped_itself(platform, weeks):
    """The higher loss is sought: the second trial is behind at step 20 and stopped, and better than what the first
    comes to, so it is trained to its end before it is registered."""
    rates = {"optimizer.learning_rate": {"choice": [0.001, 0.0015]}}
    turned = {**SWEEP, "space": rates, "goal": "maximize", "search": {"kind": "grid", "concurrent": 1}}
    trained_on = {**turned, "name": "trained-on", "register": "first-model", "best_among": "all"}
    waits = {**TRAIN, "regularization": {"early_stopping": {"patience": 1, "min_delta": 100.0}}}
    weary = {**SWEEP, "name": "weary", "train": waits, "register": "second-model", "search": {"kind": "grid"}}
    weary["space"] = {"optimizer.learning_rate": {"choice": [0.5]}}
    platform.run("submit", write(weeks, trained_on, weary))
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
