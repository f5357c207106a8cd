"""What result.json, lineage.json, manifest.json and a trial's files say: the keys of today, and of other versions."""

import json
import math

import pytest

from prepared_on_disk import prepared
from trainshed.errors import UsageError
from trainshed.record.bound import bind, fingerprints
from trainshed.record.built_on import best_trial, fingerprint_of
from trainshed.record.data_form import form_of_manifest
from trainshed.record.data_manifest import (
    BadRowsFacts,
    DataManifest,
    ReadingFacts,
    SamplesFacts,
    SourceFacts,
    TokenizerFacts,
)
from trainshed.record.facts import CodeFacts, EndFacts, TrialOrigin
from trainshed.record.index import Index
from trainshed.record.lineage import training_lineage
from trainshed.record.results import CheckpointOrigin, DataOrigin, SweepResult
from trainshed.record.run import Record
from trainshed.record.storage import Storage

SHARD = {"file": "train-00000.arrow", "samples": 2, "bytes": 90, "sha256": "ab" * 32}
PACKED = {
    "documents": 2,
    "samples": 2,
    "blocks": 2,
    "tokens": 32,
    "tokens_left_out": 3,
    "unigram_entropy_nats": 4.5,
    "shards": [SHARD],
}
LABELLED = {"samples": 2, "tokens": 9, "label_counts": [1, 1], "shards": [SHARD]}
MADE = {
    "fingerprint": "ab" * 16,
    "made_by": "text-261128-000000-0000abcd",
    "files": 3,
    "holds": {"path": "3 .txt"},
    "job": {"kind": "prepare", "special_tokens_in_text": "plain", "pack": {"block_size": 16}},
    "libraries": {"tokenizers": "0.23.3"},
    "vocab_size": 300,
    "tokenizer_sha256": "cd" * 32,
    "tokenizer_files": {"tokenizer.json": "cd" * 32},
    "special_tokens": [],
    "own_tokenizer": True,
    "has": ["text"],
    "leaks": {},
}
TRIAL = {
    "trial": "trial-00001",
    "settings": {"optimizer.learning_rate": 0.001, "schedule": {"kind": "cosine"}, "seed": 1},
    "history": [[5, 2.0], [10, math.inf], [15, None]],
    "value": 2,
    "state": "ended",
    "cause": None,
    "kind": None,
    "by": "early_stopping",
    "began_at": "2026-11-28T00:00:00.000+00:00",
    "ended_at": "2026-11-28T00:00:09.000+00:00",
    "device_s": 9.5,
    "took_over": [{"from": "trial-00000", "step": 5, "settings": {"optimizer.learning_rate": 0.005}}],
}
FILES = {
    "packed text": ("prepare", {"data": "data/ab", "address": "/s/data/ab", "reused": False, "manifest": MADE | {
        "form": "packed", "block_size": 16, "splits": {"train": PACKED, "validation": PACKED}}}),
    "labelled images": ("prepare", {"data": "data/ab", "address": "/s/data/ab", "reused": True, "manifest": {
        "fingerprint": "ab", "made_by": "a-1", "files": 2, "holds": {}, "has": ["image", "label"], "form": "examples",
        "max_tokens": 128, "label_kind": "class", "labels": ["a", "b"], "image": {"size": 8, "channels": 1},
        "images_changed": {"resized": 2}, "bad_rows": {"left_out": 1, "first": ["r.tsv:3: no label"]}, "leaks": {},
        "splits": {"train": LABELLED}, "job": {}, "libraries": {}}}),
    "a training": ("train", {
        "metrics": {"step": 4, "validation_loss": 5.5, "test_loss": math.nan, "model_sha256": "ef" * 32, "rolled": None,
                    "memory": {"ratio": 1.0, "measured": {"weights": 12}}},
        "unigram_entropy_nats": None, "checkpoint": None, "model": "runs/model-1/model", "registered": "tales@1"}),
    "a sweep": ("tune", {
        "trials": [TRIAL], "metric": "validation_loss", "goal": "min", "limit": None, "registered": None,
        "best": TRIAL | {"training": {"data": "run://text", "steps": 4}}, "refused": 0,
        "spent": {"hours": 0.5, "device_hours": 1.0, "cost": None, "currency": None}}),
    "a sweep without a figure": ("tune", {
        "trials": [], "metric": "validation_loss", "goal": "min", "limit": "budget.hours: 1 hours are over",
        "best": None, "spent": {"hours": 1.5, "device_hours": 1.0, "cost": 3.0, "currency": "USD"},
        "registered": None, "refused": 4}),
    "an endpoint": ("serve", {
        "url": "http://127.0.0.1:8000/tales", "model": "tales@1", "model_run": "model-1", "run_id": "answers-1",
        "fingerprint": "ab" * 8, "auth": ["MY_KEY"], "replicas": {"min": 1, "cpus": 0.25}, "first_answer": " cat"}),
}  # fmt: skip
"""What runs have in their result.json, beside how and when they ended."""


@pytest.fixture
def storage(tmp_path):
    return Storage.open(tmp_path)


def run_with(storage, kind, said):
    record = Record(storage, "some-1")
    record.begin({"kind": kind, "name": "some"}, submission_id="ts-1", created_at="2026-11-28T00:00:00+00:00", number=0)
    storage.write_json(
        record.at("result.json"), {"state": "succeeded", "ended_at": "2026-11-28T00:00:09+00:00", **said}
    )
    return record


@pytest.mark.parametrize("later", [{}, {"of_a_later_version": [{"x": math.nan}]}], ids=["today", "later"])
@pytest.mark.parametrize("kind", FILES)
def test_a_result_that_is_read_and_written_again_says_the_same_in_the_same_keys(storage, kind, later):
    """Whole numbers stay whole, what is null stays null, what is not there stays away, and NaN stays NaN."""
    job_kind, said = FILES[kind]
    record = run_with(storage, job_kind, said | later)
    before = storage.read_json(record.at("result.json"))
    record.finish(record.end.model_copy(update={"log": None}), record.outcome)
    again = storage.read_json(record.at("result.json"))
    assert again.pop("log") is None
    assert json.dumps(again, sort_keys=True) == json.dumps(before, sort_keys=True)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("prepare", {"data": "data/ab", "manifest": {"splits": {"train": {"samples": 3, "shards": [{"file": "a"}]}}}}),
        ("train", {"metrics": {}, "model": "runs/some-1/model"}),
        ("tune", {"trials": [{"trial": "trial-00000", "settings": {}}], "best": None}),
        ("serve", {"url": "http://h/x", "model": "m@1", "model_run": "m-1", "fingerprint": "ab" * 8}),
    ],
)
def test_a_result_of_a_version_that_said_less_reads(storage, kind, said):
    record = run_with(storage, kind, said)
    assert record.outcome.as_json() == record.result, "what it did not say is not made up when it is written again"


def test_what_a_sweep_failed_of_is_the_cause_of_its_run_and_no_key_of_its_own(storage):
    result = SweepResult(trials=(), best=None, failure="register: no trial came to its end")
    record = run_with(storage, "tune", {})
    record.finish(EndFacts(state="failed", cause=result.failure), result)
    assert set(record.result) == {"state", "ended_at", "cause", "trials", "best"}


def test_a_manifest_holds_what_each_part_says_side_by_side():
    source = SourceFacts(fingerprint="ab", files=1)
    reading = ReadingFacts(has=("text",), bad_rows=BadRowsFacts(left_out=1, first=("row 3",)))
    samples = SamplesFacts(form="packed", block_size=8, splits={"train": PACKED})
    made = DataManifest.of(source, TokenizerFacts(vocab_size=9), reading, samples)
    assert made.as_json() == {
        "fingerprint": "ab",
        "files": 1,
        "vocab_size": 9,
        "has": ["text"],
        "bad_rows": {"left_out": 1, "first": ["row 3"]},
        "form": "packed",
        "block_size": 8,
        "splits": {"train": PACKED},
    }
    assert form_of_manifest(made).sizes.context == 8


def test_fingerprints_are_what_they_were_before_lineage_had_a_type():
    full = training_lineage(
        run_id="model-261125-000000-0000abcd",
        job={
            "kind": "train",
            "name": "modèle",
            "optimizer": {"learning_rate": 1e-05, "betas": [0.9, 0.95]},
            "steps": 10,
            "self_test": True,
            "register": None,
        },
        code=CodeFacts.model_validate(
            {"version": "0.1", "package_sha256": "cd" * 32, "git_commit": None, "later": "x"}
        ),
        data=DataOrigin(
            run_id="text-261125-000000-0000abcd",
            fingerprint="ab" * 16,
            made_by="text-261125-000000-0000abcd",
            tokenizer_sha256=None,
            files=3,
        ),
        trial=TrialOrigin(
            run_id="sweep-261125-000000-0000abcd",
            trial="trial-00001",
            settings={"optimizer.learning_rate": 0.001, "schedule": {"kind": "cosine"}, "seed": 1},
        ),
        checkpoint=CheckpointOrigin(folder="checkpoints/step-0000010", step=10),
        model_sha256="ef" * 32,
        environment={"python": "3.11.7", "ray": "2.60.0"},
    )
    assert full.fingerprint == "71e196f6cc382a93d3222dde7985483be6263fd263c35a56b380fc3a6f14d3eb"
    assert full.configuration_sha256 == "6dd88b6b8c39d4f85e222605a0ae26bf107ac545470820a4100ef5c96c6e3481"
    least = training_lineage(
        run_id="model-261125-000000-0000abcd",
        job={"kind": "train"},
        code=CodeFacts(),
        data=DataOrigin(run_id="t", fingerprint="ab" * 16),
        trial=None,
        checkpoint=None,
        model_sha256="ef" * 32,
        environment={},
    )
    assert least.fingerprint == "1910e1f65244738a2cd3ca283a2d5e7112443d25ff70d9838d4a4cb31e80ce7b"
    assert set(least.as_json()) == {
        "run_id", "code", "configuration_sha256", "configuration", "data", "trial", "checkpoint", "environment",
        "model_sha256", "fingerprint",
    }  # fmt: skip


def test_what_a_job_builds_on_is_its_type_or_a_refusal(storage):
    data = prepared(storage, "text", 1)
    assert fingerprint_of(data) == "data/text-1"
    swept = run_with(storage, *FILES["a sweep"])
    assert best_trial(swept).trial == "trial-00001"
    assert fingerprint_of(swept) is None
    empty = run_with(storage, *FILES["a sweep without a figure"])
    with pytest.raises(UsageError, match="it has no best trial"):
        best_trial(empty)


def test_data_whose_run_is_gone_has_no_fingerprint_and_ends_nothing(storage):
    sweep, low, high = Record(storage, "sweep-1"), prepared(storage, "low", 1), prepared(storage, "high", 2)
    bind(sweep, {"run://low": low, "run://high": high})
    storage.delete(low.at())
    assert fingerprints(sweep, ["run://low", "run://high"], Index(storage)) == {"run://high": "data/high-1"}
