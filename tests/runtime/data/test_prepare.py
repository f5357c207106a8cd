"""Whole prepare jobs on a real Ray, and what two workers measure of their data."""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer

from chat_shapes import SHAPES
from meter_worker import World, figures
from paths import TESTS
from trainshed.errors import FailureKind, PlatformError
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.runtime.cause import cause_of
from trainshed.runtime.data import sources
from trainshed.runtime.data.prepare import prepare
from trainshed.runtime.failure import kind_of
from trainshed.runtime.report import Reporter, Voice
from trainshed.runtime.shards import open_split
from trainshed.spec.load import job_from_data

pytestmark = pytest.mark.slow

WORDS = {"bad": "dull awful poor", "good": "fine lovely great"}


def run(folder, job):
    record = Record(Storage.open(folder), job["name"])
    return prepare(job_from_data(job), Reporter(record, Voice()))


def reviews(folder, name, numbers):
    rows = [("good" if number % 3 else "bad", number) for number in numbers]
    lines = [f"the film is {WORDS[label]} {number}\t{label}\n" for label, number in rows]
    (folder / name).write_text("".join(lines))
    return str(folder / name)


def review_job(folder):
    return {
        "kind": "prepare",
        "name": "reviews",
        "source": {
            "kind": "csv",
            "path": reviews(folder, "train.tsv", range(60)),
            "test": reviews(folder, "test.tsv", range(100, 110)),
            "delimiter": "\t",
            "columns": ["text", "label"],
        },
        "tokenizer": {"kind": "train_bpe", "vocab_size": 300, "special_tokens": ["cls", "sep"]},
        "examples": {"text": "text", "label": "label", "max_tokens": 16},
        "steps": [{"kind": "clean"}, {"kind": "deduplicate"}],
        "split": {"validation": 0.2},
    }


def test_labelled_lines_become_samples_and_two_workers_measure_what_one_does(local_ray, tmp_path):
    result = run(tmp_path, review_job(tmp_path))
    manifest = result.manifest
    sizes = {split: facts.samples for split, facts in manifest.splits.items()}
    assert sizes["train"] + sizes["validation"] == 60
    assert 3 <= sizes["validation"] <= 25
    assert sizes["test"] == 10
    assert (manifest.labels, manifest.label_kind) == (("bad", "good"), "class")
    taken = open_split(Path(result.address), manifest, "test").take(np.arange(10))
    assert taken["label"].tolist() == [int(number % 3 > 0) for number in range(100, 110)]

    again = run(tmp_path, review_job(tmp_path) | {"name": "again"})
    assert (again.reused, again.data) == (True, result.data)
    job = review_job(tmp_path)
    moved = job | {"source": job["source"] | {"test": None, "validation": job["source"]["test"]}}
    assert run(tmp_path, moved).reused is False

    check_two_workers(Path(result.address), tmp_path / "workers")


def check_two_workers(data, folder):
    folder.mkdir()
    (folder / "data").symlink_to(data)
    model = {"kind": "bert", "layers": 1, "heads": 2, "width": 16}
    training = {
        "task": {"kind": "text_classification"},
        "model": model,
        "data": "run://reviews",
        "optimizer": {"kind": "adamw", "learning_rate": 0.001},
        "workers": {"per_device_batch_size": 4},
        "global_batch_size": 8,
        "steps": 1,
    }
    (folder / "training.json").write_text(json.dumps(training))
    worker = TESTS / "meter_worker.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    commands = [[sys.executable, worker, folder, str(rank)] for rank in range(2)]
    started = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for command in commands]
    for process in started:
        _, stderr = process.communicate(timeout=240)
        assert process.returncode == 0, stderr[-3000:]
    alone = figures(folder, World(0, 1, torch.device("cpu")))
    for rank in range(2):
        together = json.loads((folder / f"found-{rank}.json").read_text())
        assert together == [pytest.approx(one, rel=1e-6) for one in alone]
    assert "f1" in alone[0]


def test_text_is_cut_by_position_into_characters(local_ray, tmp_path):
    (tmp_path / "text.txt").write_text("ab" * 400 + "cd" * 100)
    job = {
        "kind": "prepare",
        "name": "letters",
        "source": {"kind": "text_files", "path": str(tmp_path / "text.txt")},
        "tokenizer": {"kind": "characters"},
        "pack": {"block_size": 8},
        "split": {"by": "position", "validation": 0.2},
    }
    result = run(tmp_path, job)
    manifest, folder = result.manifest, Path(result.address)
    assert manifest.vocab_size == 4  # end, unknown, a, b: the rest stands only in what is held out
    train, held_out = (open_split(folder, manifest, split) for split in ("train", "validation"))
    assert len(train) == 100
    assert set(held_out.take(np.arange(len(held_out)))["tokens"].ravel()) == {1}


def test_documents_keep_the_order_of_their_files_whichever_is_read_first(local_ray, tmp_path):
    """The first files are long to read, so the last ones are there first: the order must come from their names."""
    (tmp_path / "texts").mkdir()
    for number in range(40):
        words = "and so on " * (500_000 if number == 0 else 20)
        (tmp_path / "texts" / f"{number:02}.txt").write_text(f"{number:02}: {words}")
    job = {
        "kind": "prepare",
        "name": "ordered",
        "source": {"kind": "text_files", "path": str(tmp_path / "texts" / "*.txt")},
        "steps": [{"kind": "clean"}],
        "tokenizer": {"kind": "characters"},
        "pack": {"block_size": 16},
        "split": {"validation": 0.2},
    }
    result = run(tmp_path, job)
    vocabulary = Tokenizer.from_file(f"{result.address}/tokenizer/tokenizer.json").get_vocab()
    letters = np.array([text[:1] for text in sorted(vocabulary, key=vocabulary.__getitem__)])
    for split in ("train", "validation"):
        blocks = open_split(Path(result.address), result.manifest, split)
        text = "".join(letters[blocks.take(np.arange(len(blocks)))["tokens"].ravel()])
        seen = [int(found) for found in re.findall(r"(\d\d): ", text)]
        assert len(seen) > 3
        assert seen == sorted(seen)


def test_folders_of_images_become_samples_of_their_classes(local_ray, tmp_path):
    for number in range(40):
        name, level = ("dark", 10) if number % 2 else ("light", 240)
        (tmp_path / "pictures" / name).mkdir(parents=True, exist_ok=True)
        pixels = np.full((6, 6), level + number % 10, dtype=np.uint8)
        pixels[number % 6, number // 6 % 6] = number
        Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    job = {
        "kind": "prepare",
        "name": "pictures",
        "source": {"kind": "images", "path": str(tmp_path / "pictures"), "size": 4, "channels": "grey"},
        "examples": {"image": "image", "label": "label"},
        "split": {"validation": 0.3},
    }
    result = run(tmp_path, job)
    taken = open_split(Path(result.address), result.manifest, "train").take(np.arange(10))
    assert taken["pixels"].shape == (10, 1, 4, 4)
    assert result.manifest.labels == ("dark", "light")
    means = taken["pixels"].mean(axis=(1, 2, 3))
    assert ((means > 127) == (taken["label"] == 1)).all()


def test_bad_rows_are_refused_by_line(local_ray, tmp_path):
    job = review_job(tmp_path)
    job["examples"] = job["examples"] | {"label_kind": "number"}
    with pytest.raises(PlatformError, match=r"train.tsv:1: label: the label is no number: 'bad'; see label_kind; also"):
        run(tmp_path, job)
    assert not list(tmp_path.glob("data/*/*"))


def _raise(row):
    raise row["error"]


@pytest.mark.parametrize(
    ("raised", "said"),
    [(PlatformError("a.txt: gone"), "a.txt: gone"), (TimeoutError("enough"), "TimeoutError: enough")],
)
def test_what_a_task_raises_keeps_its_class_and_reason(local_ray, raised, said):
    """Of itself Ray Data says `UDF failed to process a data block`, and drops the rest."""
    sources.set_up()
    rows = local_ray.data.from_items([{"error": raised}])
    with pytest.raises(Exception, match=said) as caught:
        rows.map(_raise).materialize()
    assert cause_of(caught.value).startswith(said)  # Ray may say behind it how often it has tried
    assert kind_of(caught.value) is FailureKind.CODE


def test_bad_rows_are_left_out_and_counted_and_a_text_that_spells_a_mark_stays_text(local_ray, tmp_path):
    """23 documents that say <|endoftext|> once or more once had 45 end marks."""
    (tmp_path / "lines").mkdir()
    rows = [{"text": f"{number:02} <|endoftext|> and so on"} for number in range(23)]
    lines = [json.dumps(row) for row in rows]
    lines[5:5] = ['{"text": null}', '{"text": [{"role": "user"}]}']
    (tmp_path / "lines" / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (tmp_path / "lines" / "b.ndjson").write_bytes(b'{"text": "\\ud800"}\n')
    (tmp_path / "lines" / "c.txt").write_text("no lines")
    job = {
        "kind": "prepare",
        "name": "lines",
        "source": {"kind": "jsonl", "path": str(tmp_path / "lines")},
        "tokenizer": {"kind": "characters"},
        "pack": {"block_size": 8},
        "split": {"validation": 0.2},
        "bad_rows": {"kind": "skip", "limit": 3},
    }
    result = run(tmp_path, job)
    manifest, folder = result.manifest, Path(result.address)
    assert manifest.special_tokens_in_text == {"<|endoftext|>": 23}
    assert manifest.holds == {"path": "1 .jsonl.gz, 1 .ndjson; left out: 1 .txt"}
    assert manifest.bad_rows.left_out == 3
    kept = [json.loads(line) for line in (folder / "bad_rows.jsonl").read_text().splitlines()]
    assert [row["origin"].rpartition("/")[2] for row in kept] == ["a.jsonl.gz:6", "a.jsonl.gz:7", "b.ndjson:1"]
    splits = [open_split(folder, manifest, split) for split in ("train", "validation")]
    marks = sum(int((blocks.take(np.arange(len(blocks)))["tokens"] == 0).sum()) for blocks in splits)
    assert 21 <= marks <= 23  # the last of each split may stand in what fills no block

    with pytest.raises(PlatformError, match=r"a.jsonl.gz:6: text: expected text, found null; .* bad_rows.limit, 2"):
        run(tmp_path, job | {"bad_rows": {"kind": "skip", "limit": 2}})


def test_conversations_share_blocks_and_what_became_of_them_is_counted(local_ray, tmp_path):
    SHAPES["gemma"].tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "generation_config.json").write_text('{"eos_token_id": [2, 4]}')
    long = "and so on " * 60
    answers = [f"{long if number % 3 == 2 else 'short'} {number}" for number in range(60)]
    lines = [
        {"messages": [{"role": "user", "content": "a?"}, {"role": "assistant", "content": answer}]}
        for answer in answers
    ]
    (tmp_path / "chats.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    job = {
        "kind": "prepare",
        "name": "chats",
        "source": {"kind": "jsonl", "path": str(tmp_path / "chats.jsonl")},
        "format": "auto",
        "tokenizer": {"kind": "pretrained", "name_or_path": str(tmp_path / "model")},
        "pack": {"block_size": 128},
        "too_long": "drop",
        "steps": [{"kind": "clean"}, {"kind": "deduplicate"}],
        "split": {"validation": 0.2},
    }
    manifest = run(tmp_path, job).manifest
    assert (manifest.format, manifest.has, manifest.apart) == ("messages", ("messages",), True)
    splits = list(manifest.splits.values())
    assert sum(facts.documents for facts in splits) == 40
    assert sum(facts.left_out.get("too long", 0) for facts in splits) == 20
    folder = tmp_path / "data" / manifest.fingerprint
    assert json.loads((folder / "tokenizer" / "generation_config.json").read_text())["eos_token_id"] == [2, 4]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    train = open_split(folder, manifest, "train")
    taken = train.take(np.arange(len(train)))
    for ids, mask, lengths in zip(taken["tokens"], taken["loss_mask"], taken["lengths"], strict=True):
        assert lengths.sum() == len(ids) <= 128
        ends = ids[np.flatnonzero(np.diff(np.concatenate([mask, [0]])) == -1)]
        assert {tokenizer.id_to_token(int(end)) for end in ends} == {"<end_of_turn>"}
        assert len(ends) == len(lengths)
    again = run(tmp_path, job)
    assert again.reused
