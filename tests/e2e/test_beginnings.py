"""Trainings and a sweep that begin with what another training has left, in one submission and in the next."""

import json

import pytest
from safetensors.torch import load_file

from small_jobs import TRAIN, prepare, write, write_texts

pytestmark = pytest.mark.slow

SMALL = {**TRAIN, "data": "run://weeks", "steps": 8, "validation": {"every_steps": 4}, "engine": {"kind": "ddp"}}
SMALL |= {"checkpoint": {"every_steps": 4, "keep": 3}, "workers": {"count": 1, "per_device_batch_size": 4}}
STILL = {"optimizer": {"kind": "adamw", "learning_rate": 1e-12}, "schedule": {"kind": "constant"}}


def existing(name, **more):
    return {**SMALL, "name": name, "model": {"kind": "pretrained", "name_or_path": "run://begun"}, **more}


@pytest.fixture(scope="module")
def submitted(platform, weeks):
    """A training, and three documents after it that build on what it leaves."""
    begun = {**SMALL, "name": "begun", "register": "begun"}
    sweep = {
        "kind": "tune",
        "name": "begun-sweep",
        "train": {key: value for key, value in existing("x", **STILL).items() if key not in ("kind", "name")},
        "space": {"model.name_or_path": {"choice": ["run://begun", "begun@latest"]}},
        "search": {"kind": "grid", "concurrent": 1},
        "register": "swept",
    }
    at_start = {"every_steps": 4, "at_start": True}
    further = existing("further", **STILL, engine={"kind": "deepspeed", "zero_stage": 2}, validation=at_start)
    init = {**SMALL, **STILL, "name": "again", "init_from": "run://begun@4", "engine": {"kind": "fsdp"}}
    platform.run("submit", write(weeks, begun, sweep, further, init))
    return platform


def rows(platform, name):
    return [json.loads(line) for line in (platform.folder(name) / "metrics.jsonl").read_text().splitlines()]


def lineage(platform, name):
    return json.loads((platform.folder(name) / "lineage.json").read_text())


def test_a_second_training_begins_where_the_first_has_ended(submitted):
    first, *others = rows(submitted, "further")
    assert [row["step"] for row in others] == list(range(1, 9))
    assert (first["step"], first["validation_loss"]) == (
        0,
        pytest.approx(rows(submitted, "begun")[-1]["validation_loss"], rel=1e-5),
    )
    assert lineage(submitted, "further")["weights"]["run_id"] == submitted.folder("begun").name
    first, second = (load_file(submitted.folder(name) / "model/model.safetensors") for name in ("begun", "further"))
    assert all((first[name] - second[name]).abs().max() < 1e-6 for name in first)


def test_a_training_begins_with_an_earlier_checkpoint_of_another(submitted):
    assert rows(submitted, "again")[3]["validation_loss"] == pytest.approx(
        rows(submitted, "begun")[3]["validation_loss"], rel=1e-4
    )
    assert lineage(submitted, "again")["weights"] == {"run_id": submitted.folder("begun").name, "init_step": 4}


def test_every_trial_of_a_sweep_begins_with_the_model_that_it_names(submitted):
    found = submitted.json("show", "begun-sweep")["result"]
    expected = rows(submitted, "begun")[-1]["validation_loss"]
    assert [trial["value"] for trial in found["trials"]] == [pytest.approx(expected, rel=1e-4)] * 2
    assert lineage(submitted, "begun-sweep")["weights"]["run_id"] == submitted.folder("begun").name
    assert found["registered"] == "swept@1"


def test_epochs_of_data_that_the_same_submission_makes_are_counted_before_the_first_step(submitted, weeks):
    write_texts(weeks, "moons", animals=("owl", "cat"), verb="slept", count=30)
    job = {**SMALL, "name": "counted", "data": "run://moons", "steps": None, "epochs": 1.5}
    submitted.run("submit", write(weeks, prepare("moons"), {key: job[key] for key in job if job[key] is not None}))
    samples = submitted.json("show", "moons")["result"]["manifest"]["splits"]["train"]["samples"]
    steps = round(1.5 * (samples // 8))
    assert [row["step"] for row in rows(submitted, "counted")] == list(range(1, steps + 1))
    job = json.loads((submitted.folder("counted") / "job.json").read_text())
    assert (job["job"]["steps"], job["job"]["epochs"], job["asked"]["epochs"]) == (steps, None, 1.5)


def test_a_later_submission_begins_with_a_version_and_the_page_says_it(submitted, weeks):
    job = {**existing("later", **STILL), "model": {"kind": "pretrained", "name_or_path": "swept@1"}}
    submitted.run("submit", write(weeks, job))
    assert lineage(submitted, "later")["weights"]["version"] == "swept@1"
    page = submitted.run("show", "later").stdout
    assert [line.split() for line in page.splitlines() if "began with" in line] == [["began", "with", "swept@1"]]
