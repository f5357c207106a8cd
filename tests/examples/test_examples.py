"""Every example: its rule makes its data, its job files are found right and planned, its code is short and does what
its page says. One of them is run to its end in tests/e2e/test_examples.py.
"""

import json
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from paths import ROOT
from submitting import checked, planned
from task_cases import made_tokenizer
from trainshed.record.storage import Storage
from trainshed.runtime import tasks
from trainshed.spec.document.override import override
from trainshed.spec.load import load_files

EXAMPLES = sorted(folder for folder in (ROOT / "examples").iterdir() if folder.is_dir())
MOST_LINES = 60


@pytest.fixture(scope="module")
def copied(request, tmp_path_factory):
    """An example as a clone has it, with the data that its own rule makes; tests only read it."""
    made = tmp_path_factory.mktemp("examples") / request.param.name
    shutil.copytree(request.param, made, ignore=shutil.ignore_patterns("texts", "shapes", "*.jsonl", "__pycache__"))
    for rule in made.glob("make_*.py"):
        subprocess.run([sys.executable, rule], check=True)
    return made


def each(folders=EXAMPLES):
    return pytest.mark.parametrize("copied", folders, ids=lambda folder: folder.name, indirect=True)


def one(name):
    return each([ROOT / "examples" / name])


def jobs(folder):
    """Its job files in the order in which its page submits them."""
    found = re.findall(r"^platform submit (\S+\.yaml)", (folder / "README.md").read_text(), re.MULTILINE)
    return [folder.parent / name for name in dict.fromkeys(found)]


def test_the_examples_are_those_that_their_page_names():
    assert len(EXAMPLES) == 5
    page = (ROOT / "examples/README.md").read_text()
    assert re.findall(r"^\| \[(\w+)\]", page, re.MULTILINE) == [
        "own_text",
        "chat_model",
        "custom_task",
        "image_folder",
        "sweep_to_endpoint",
    ]
    assert sorted(re.findall(r"^\| \[(\w+)\]", page, re.MULTILINE)) == [folder.name for folder in EXAMPLES]


@each()
def test_an_example_has_one_or_two_job_files_that_its_page_submits(copied):
    assert 1 <= len(jobs(copied)) <= 2
    assert sorted(jobs(copied)) == sorted(copied.glob("*.yaml"))


@each()
def test_an_example_is_found_right_and_planned(copied, tmp_path):
    documents = load_files(jobs(copied))
    storage = Storage.open(tmp_path / "storage")
    checked(documents, storage, local=True)
    settled, plans = planned(documents, storage)
    assert settled[0].job.kind == "prepare"
    assert plans
    assert all(plan.chosen.states < 10e6 for plan in plans if plan.chosen), "it is for a laptop"


@each()
def test_the_page_says_how_the_data_is_made(copied):
    page = (copied / "README.md").read_text()
    for rule in copied.glob("make_*.py"):
        assert f"python {copied.name}/{rule.name}" in page


@pytest.mark.parametrize(
    "file", sorted(ROOT.glob("examples/*/*.py")), ids=lambda file: f"{file.parent.name}/{file.name}"
)
def test_code_that_is_shown_is_short(file):
    assert len(file.read_text().splitlines()) <= MOST_LINES


@one("own_text")
def test_recipes_differ(copied):
    texts = [file.read_text() for file in (copied / "texts").iterdir()]
    assert len(set(texts)) == 300


@one("image_folder")
def test_drawings_lie_in_the_folder_of_their_class(copied):
    counts = {folder.name: len(list(folder.glob("*.png"))) for folder in (copied / "shapes").iterdir()}
    assert counts == {"circle": 500, "square": 500, "triangle": 500}
    with Image.open(copied / "shapes/circle/000.png") as image:
        assert (image.size, image.mode) == ((32, 32), "L")


@pytest.fixture
def promise(tmp_path, monkeypatch):
    """The example's task with a quantile, as a worker makes it."""
    monkeypatch.syspath_prepend(ROOT / "examples/custom_task")
    facts = tasks.DataFacts(made_tokenizer(tmp_path, ["express to Bern, 3 kg", "standard to Lyon"]), 24, tmp_path)
    train = load_files([ROOT / "examples/custom_task/job.yaml"])[1].job.train
    return lambda quantile: tasks.build(
        override(train, {"task.settings": {"quantile": quantile}}, file="example"), facts
    )


def constant(days):
    """A model that promises every parcel the same."""
    return lambda input_ids, attention_mask: SimpleNamespace(logits=torch.full((len(input_ids), 1), days))


@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_the_task_of_ones_own_promises_what_its_quantile_says(promise, quantile):
    """Of all constant promises the one with the least loss is kept by that share of the parcels."""
    task = promise(quantile)
    took = torch.from_numpy(np.random.default_rng(0).gamma(2.0, size=500)).float()
    batch = {"input_ids": torch.zeros(500, 4, dtype=torch.long), "attention_mask": torch.ones(500, 4), "labels": took}
    offers = np.linspace(0, 8, 801)
    losses = [float(task.loss(constant(days), batch, label_smoothing=0.0)) for days in offers]
    best = float(offers[int(np.argmin(losses))])
    meter = task.meter()
    meter.add(constant(best), batch)
    figures = meter.metrics()
    assert figures["kept"] == pytest.approx(quantile, abs=0.01)
    spare = np.maximum(best - took.numpy(), 0).sum()
    broken = int((took.numpy() > best).sum())
    assert figures["cost"] == pytest.approx((5 * spare + 20 * broken) / 500, rel=1e-4)
    assert figures["loss"] == pytest.approx(min(losses) / 500, rel=1e-4)


@one("custom_task")
def test_the_task_names_what_its_meter_gives(promise, copied):
    job = load_files([copied / "job.yaml"])[1].job
    task = promise(0.9)
    meter = task.meter()
    meter.add(
        constant(1.0), {"input_ids": torch.zeros(2, 4), "attention_mask": torch.ones(2, 4), "labels": torch.ones(2)}
    )
    assert set(meter.metrics()) == {"loss", *job.train.task.metrics}
    assert len([json.loads(line) for line in (copied / "parcels.jsonl").read_text().splitlines()]) == 2000


@one("chat_model")
def test_no_chat_answers_a_held_out_question(copied):
    rows = {name: [json.loads(line) for line in (copied / f"{name}.jsonl").read_text().splitlines()]
            for name in ("chats", "held_out")}  # fmt: skip
    said = {name: {row["messages"][-1]["content"] for row in found} for name, found in rows.items()}
    assert (len(rows["held_out"]), len(said["held_out"])) == (100, 100)
    assert not said["held_out"] & said["chats"]
