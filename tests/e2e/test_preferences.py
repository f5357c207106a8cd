"""A toy preference as a user has it: a model is taught, measured as a reference, and learns to end politely."""

import json
import random

import pytest
import torch
from transformers import AutoModelForCausalLM

from e2e.test_going_on import slowed, workers
from small_jobs import write
from trainshed.record.data_manifest import DataManifest
from trainshed.runtime.shards import open_data
from waiting import wait_for

pytestmark = pytest.mark.slow

THINGS = ("lamp", "chair", "coat", "book", "cup", "table", "shoe", "clock")
POLITE = ("Thank you for asking.", "Have a nice day.", "You are very welcome.")
RUDE = ("That is all.", "Now go away.", "Do not ask again.")
PREPARE = {
    "kind": "prepare",
    "name": "dialogues",
    "source": {"kind": "jsonl", "path": "dialogues.jsonl"},
    "format": "messages",
    "tokenizer": {"kind": "train_bpe", "vocab_size": 400, "chat_template": "chatml"},
    "examples": {"max_tokens": 64},
    "split": {"validation": 0.05},
}
BASE = {
    "kind": "train",
    "name": "polite-base",
    "model": {"kind": "llama", "layers": 2, "heads": 4, "width": 64},
    "data": "run://dialogues",
    "optimizer": {"kind": "adamw", "learning_rate": 0.004},
    "schedule": {"kind": "cosine", "warmup_steps": 20},
    "engine": {"kind": "ddp"},
    "workers": {"count": 1, "per_device_batch_size": 16},
    "global_batch_size": 16,
    "steps": 120,
    "register": "polite-base",
}
PREFERENCES = {
    **PREPARE,
    "name": "comparisons",
    "source": {"kind": "jsonl", "path": "comparisons.jsonl"},
    "format": "preference",
    "tokenizer": {"kind": "of_data", "data": "run://dialogues"},
    "split": {"validation": 0.1},
}
THERE = {"kind": "pretrained", "name_or_path": "polite-base@latest"}
REFERENCE = {
    "kind": "reference",
    "name": "comparisons-measured",
    "data": "run://comparisons",
    "model": THERE,
    "workers": {"count": 2, "per_device_batch_size": 8},
}
DPO = {
    "kind": "train",
    "name": "polite",
    "task": {"kind": "dpo"},
    "model": THERE,
    "data": "run://comparisons-measured",
    "optimizer": {"kind": "adamw", "learning_rate": 5.0e-5},
    "workers": {"count": 2, "per_device_batch_size": 8},
    "global_batch_size": 16,
    "steps": 60,
    "validation": {"every_steps": 30, "at_start": True},
    "register": "polite",
}


def write_rows(folder, *, comparisons):
    draw = random.Random(5)

    def asked():
        thing, price = draw.choice(THINGS), draw.randint(2, 99)
        return f"What does the {thing} cost for {price}?", f"The {thing} costs {price}."

    with (folder / "dialogues.jsonl").open("w") as file:
        for _ in range(800):
            question, answer = asked()
            said = f"{answer} {draw.choice(POLITE + RUDE)}"
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": said}]
            file.write(json.dumps({"messages": turns}) + "\n")
    with (folder / "comparisons.jsonl").open("w") as file:
        for _ in range(comparisons):
            question, answer = asked()
            sides = {"chosen": f"{answer} {draw.choice(POLITE)}", "rejected": f"{answer} {draw.choice(RUDE)}"}
            file.write(json.dumps({"prompt": question, **sides}) + "\n")


@pytest.fixture(scope="module")
def taught(platform, tmp_path_factory):
    """The folder of the job files, where all of it has run."""
    folder = tmp_path_factory.mktemp("polite")
    write_rows(folder, comparisons=600)
    platform.run("submit", write(folder, PREPARE, BASE, PREFERENCES, REFERENCE, DPO))
    return folder


def test_a_toy_preference_is_learnt_from_half_to_over_95_percent(platform, taught):
    rows = [row for row in platform.json("show", "polite")["metrics"] if "validation_accuracy" in row]
    first, last = rows[0], rows[-1]
    assert (first["step"], last["step"]) == (0, 60)
    assert first["validation_accuracy"] == pytest.approx(0.5, abs=0.1), "it is its reference"
    assert first["validation_loss"] == pytest.approx(0.6931, abs=1e-3)
    assert first["validation_kl"] == pytest.approx(0, abs=1e-2)
    assert last["validation_accuracy"] > 0.95
    assert last["validation_margin"] > 0.2
    assert last["validation_chosen_reward"] > last["validation_rejected_reward"]


def test_the_reference_is_what_the_exported_model_says(platform, taught):
    result = platform.json("show", "comparisons-measured")["result"]
    manifest = DataManifest.model_validate(result["manifest"])
    samples = dict(zip(manifest.splits, open_data(platform.home / result["data"], manifest), strict=True))["validation"]
    model = AutoModelForCausalLM.from_pretrained(
        platform.home / platform.json("show", "polite-base")["result"]["model"]
    )
    taken = samples.take(range(20))
    for ids, mask, column in (
        ("tokens", "loss_mask", "reference_chosen"),
        ("rejected", "rejected_mask", "reference_rejected"),
    ):
        for number in range(20):
            row = torch.from_numpy(taken[ids][number])
            with torch.no_grad():
                said = model(input_ids=row[None]).logits[0, :-1].log_softmax(-1)
            each = said.gather(1, row[1:, None])[:, 0][torch.from_numpy(taken[mask][number][1:]) > 0]
            assert float(taken[column][number]) == pytest.approx(float(each.sum()), rel=1e-4)


def test_an_answer_leads_back_to_its_reference(platform, taught):
    lineage = platform.json("show", "polite")["lineage"]
    reference = platform.json("show", lineage["data"]["run_id"])
    assert reference["job"]["job"]["kind"] == "reference"
    facts = reference["result"]["manifest"]["reference"]
    assert facts["weights"]["version"] == lineage["weights"]["version"] == "polite-base@1"
    assert facts["weights"]["model_sha256"] == lineage["weights"]["model_sha256"]
    assert facts["of"] == platform.json("show", "comparisons")["result"]["manifest"]["fingerprint"]
    assert facts["shape"]["layers"] == 2


def test_what_is_measured_once_is_not_measured_again(platform, taught):
    again = {**REFERENCE, "name": "measured-again"}
    assert "unchanged: the data is already there" in platform.run("submit", write(taught, again)).stdout
    shown = platform.json("show", "measured-again")["result"]
    assert (shown["reused"], shown["data"]) == (True, platform.json("show", "comparisons-measured")["result"]["data"])


def test_a_training_without_its_reference_is_refused(platform, taught):
    bare = write(taught, {**DPO, "name": "bare", "data": "run://comparisons"})
    assert (
        "data: task dpo compares with a reference, and run://comparisons has none"
        in platform.run("submit", bare, code=2).stderr
    )
    twice = write(taught, {**REFERENCE, "name": "twice", "data": "run://comparisons-measured"})
    assert "run://comparisons-measured has a reference already" in platform.run("submit", twice, code=2).stderr


@pytest.mark.faults
def test_a_reference_that_is_killed_or_stopped_goes_on_where_it_was(platform, taught, tmp_path):
    write_rows(tmp_path, comparisons=8_000)
    many = {**PREFERENCES, "name": "many"}
    slowly = {"count": 2, "per_device_batch_size": 1}
    measured = {**REFERENCE, "name": "many-measured", "data": "run://many", "workers": slowly}
    platform.run("submit", write(tmp_path, many))
    following = platform.start("submit", write(tmp_path, measured))
    folder = wait_for(lambda: platform.newest("many-measured"))
    wait_for(lambda: len(list(folder.glob("scores/*.arrow"))) >= 3, every_s=0.02)
    with slowed(workers(folder)[0]):  # the other one waits for it
        platform.run("stop", folder.name)
    following.communicate(timeout=60)
    shown = platform.json("show", "many-measured")["result"]
    assert shown["state"] == "stopped"
    assert "samples done" in shown["cause"]
    there = {one.name: one.stat().st_mtime_ns for one in folder.glob("scores/*.arrow")}
    assert there
    resumed = platform.start("resume", folder.name)
    wait_for(lambda: len(list(folder.glob("scores/*.arrow"))) >= len(there) + 2, every_s=0.02)
    workers(folder)[0].kill()
    kept = {one.name: one.stat().st_mtime_ns for one in folder.glob("scores/*.arrow") if one.name in there}
    assert kept == there, "measured twice"
    stdout, stderr = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, stdout + stderr
    assert platform.json("show", "many-measured")["state"] == "succeeded"
