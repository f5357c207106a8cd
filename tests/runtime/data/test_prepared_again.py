"""Prepared data that is there already: when it is the same, and what is made anew. On a real Ray."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.runtime.data import tokenizer
from trainshed.runtime.data.prepare import prepare
from trainshed.runtime.report import Reporter, Voice
from trainshed.runtime.shards import open_split
from trainshed.spec.data.prepare import TrainBpe
from trainshed.spec.load import job_from_data

pytestmark = pytest.mark.slow


def run(folder, job):
    record = Record(Storage.open(folder), job["name"])
    result = prepare(job_from_data(job), Reporter(record, Voice()))
    events = (folder / "runs" / job["name"] / "events.jsonl").read_text().splitlines()
    return result, [json.loads(line).get("message", "") for line in events]


def questions(folder, name, rows):
    (folder / name).write_text("".join(json.dumps(dict(zip("qa", row, strict=True))) + "\n" for row in rows))
    return str(folder / name)


def answers_of(result, split):
    """The target ids of a split, as a set: each answer is other ids."""
    samples = open_split(Path(result.address), result.manifest, split)
    return {tuple(target.tolist()) for target in samples.take(np.arange(len(samples)))["target"]}


def test_a_copy_goes_from_training_and_five_answers_to_one_question_stay_five(local_ray, tmp_path):
    same = [("which is the first", f"answer {number}") for number in range(5)]
    own = [(f"question {number}", f"{number} it is") for number in range(20)]
    held_out = [(f"held out {number}", f"{number} again") for number in range(6)]
    job = {
        "kind": "prepare",
        "name": "questions",
        "source": {
            "kind": "jsonl",
            "path": questions(tmp_path, "train.jsonl", [*same, *own, *own[:3], *held_out[:2], ("held out 3", "other")]),
            "validation": questions(tmp_path, "validation.jsonl", held_out),
        },
        "tokenizer": {"kind": "train_bpe", "vocab_size": 300},
        "examples": {"text": "q", "target": "a"},
    }
    sizes, leaks = {}, {}
    for name, fields in {
        "plain": {},
        "unique": {"steps": [{"kind": "deduplicate"}]},
        "kept": {"split": {"remove_leaks": False}},
    }.items():
        result, said = run(tmp_path, {**job, **fields, "name": name})
        splits = result.manifest.splits
        sizes[name] = {split: facts.samples for split, facts in splits.items()}
        leaks[name] = result.manifest.leaks
        assert len(answers_of(result, "validation")) == 6, "what is held out is never made smaller"
        assert any("training samples stand in the validation set too" in line for line in said)
        if name == "unique":
            assert len(answers_of(result, "train")) == 25
    assert sizes == {
        "plain": {"train": 28, "validation": 6},
        "unique": {"train": 25, "validation": 6},
        "kept": {"train": 31, "validation": 6},
    }
    assert leaks == {"plain": {"validation": 3}, "unique": {"validation": 1}, "kept": {"validation": 3}}


def test_what_is_missing_or_damaged_is_made_anew_and_another_tokenizer_is_other_data(local_ray, tmp_path):
    lines = [f"line {number} of the text says {number * 7}" for number in range(200)]
    source = questions(tmp_path, "text.jsonl", [(line, "") for line in lines])
    model = tmp_path / "model"
    spec = TrainBpe(vocab_size=300)
    tokenizer.save(tokenizer.train(spec, lines), spec, 64, model)
    job = {
        "kind": "prepare",
        "name": "first",
        "source": {"kind": "jsonl", "path": source, "field": "q"},
        "tokenizer": {"kind": "pretrained", "name_or_path": str(model)},
        "pack": {"block_size": 8},
    }
    first, _ = run(tmp_path, job)
    again, said = run(tmp_path, {**job, "name": "again"})
    assert (again.reused, any("no work done" in line for line in said)) == (True, True)

    folder = Path(first.address)
    (folder / "train-00000.arrow").unlink()
    (folder / "tokenizer" / "tokenizer.json").write_text("{}")
    mended, said = run(tmp_path, {**job, "name": "mended"})
    assert any("the data is made anew" in line and "and 1 more" in line for line in said)
    assert (mended.reused, mended.manifest.splits) == (False, first.manifest.splits)
    assert run(tmp_path, {**job, "name": "whole"})[0].reused

    moved = shutil.copytree(model, tmp_path / "elsewhere")
    there = {**job, "name": "moved", "tokenizer": {"kind": "pretrained", "name_or_path": str(moved)}}
    assert run(tmp_path, there)[0].reused, "the same tokenizer in another place"
    tokenizer.save(tokenizer.train(spec, [line[::-1] for line in lines]), spec, 64, model)
    other, _ = run(tmp_path, {**job, "name": "other"})
    assert (other.reused, other.data == first.data) == (False, False), "another one in the same place"
