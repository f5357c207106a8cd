"""Data with labels or with targets, and models that were trained on it, as files: for evaluations without a cluster."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

from results_on_disk import finished
from trainshed.record.facts import CodeFacts, VersionFacts
from trainshed.record.lineage import sha256, training_lineage
from trainshed.record.registry import register
from trainshed.record.results import DataOrigin
from trainshed.record.run import Record
from trainshed.runtime.data import tokenizer
from trainshed.runtime.data.columns import shard_schema
from trainshed.runtime.encoding import TextEncoder
from trainshed.runtime.shards import ExampleWriter
from trainshed.spec.data.tokenizers import TrainBpe
from trainshed.spec.load import job_from_data

MOST_TOKENS = 16
WORDS = {"bad": ("awful", "dull", "poor"), "good": ("lovely", "great", "fine")}
TRAIN = {
    "kind": "train",
    "optimizer": {"kind": "adamw", "learning_rate": 0.001},
    "engine": {"kind": "ddp"},
    "workers": {"count": 1, "per_device_batch_size": 4},
    "global_batch_size": 4,
    "steps": 1,
}
BERT = {"kind": "bert", "layers": 1, "heads": 2, "width": 16}
GPT2 = {"kind": "gpt2", "layers": 1, "heads": 2, "width": 16}


def rows_of(split, count, labels=("bad", "good")):
    """Texts, their labels and short targets: those of a split stand in no other."""
    found = []
    for number in range(count):
        label = labels[number % len(labels)]
        words = WORDS.get(label, ("odd", "new", "other"))
        found.append({"text": f"{split} {number} was {words[number % 3]}", "label": label, "target": f"it is {label}"})
    return found


def data(storage, name, splits, *, has=("text", "label"), labels=("bad", "good"), vocabulary=300, day=1, words=None):
    """The Record of a prepare run; `splits` are rows by split. `words` are what its tokenizer was trained on."""
    record = Record(storage, f"{name}-26112{day}-000000-abcdef01")
    created = {"submission_id": "ts-1", "created_at": f"2026-11-2{day}T00:00:00.000+00:00", "number": 0}
    record.begin({"kind": "prepare", "name": name}, **created)
    folder = f"data/{name}-{day}"
    place = Path(storage.path(folder)) / "tokenizer"
    texts = words or [row["text"] for row in rows_of("test", 60)] + ["it is so"]
    trained = tokenizer.train(TrainBpe(vocab_size=vocabulary), texts * 3)
    tokenizer.save(trained, TrainBpe(vocab_size=vocabulary), MOST_TOKENS, place)
    encoder = TextEncoder.read(place, max_tokens=MOST_TOKENS)
    kind = "class" if "label" in has else None
    written = {}
    for split, rows in splits.items():
        writer = ExampleWriter(storage, folder, split, shard_schema(has, kind, None), labels=len(labels) if kind else 0)
        if rows:
            columns = {"tokens": encoder.texts([row["text"] for row in rows])}
            if "target" in has:
                columns["target"] = encoder.texts([row["target"] for row in rows])
            if kind:
                columns["label"] = [labels.index(row["label"]) for row in rows]
            writer.add(pa.table({key: _column(values) for key, values in columns.items()}))
        written[split] = writer.close().as_json()
    manifest = {
        "form": "examples",
        "has": list(has),
        "max_tokens": MOST_TOKENS,
        "max_target_tokens": MOST_TOKENS if "target" in has else 0,
        "vocab_size": trained.get_vocab_size(),
        "label_kind": kind,
        "labels": list(labels) if kind else [],
        "splits": written,
        "fingerprint": sha256(folder.encode()),
        "tokenizer_files": {path.name: sha256(path.read_bytes()) for path in sorted(place.iterdir())},
    }
    storage.write_json(f"{folder}/manifest.json", manifest)
    finished(record, "succeeded", data=folder, manifest=manifest)
    return record


def _column(values):
    return pa.array([value.tolist() if isinstance(value, np.ndarray) else value for value in values])


def classifier(vocab, labels=("bad", "good")):
    names = dict(enumerate(labels))
    config = BertConfig(
        vocab_size=vocab,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=MOST_TOKENS,
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )
    return BertForSequenceClassification(config)


def decoder(vocab):
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocab, n_embd=16, n_layer=1, n_head=2, n_positions=4 * MOST_TOKENS))


def model(storage, name, made, read, job, *, day=1, version_of=None):
    """The Record of a training that exported `made`, a function of a vocabulary, and read the data run `read`."""
    record = Record(storage, f"{name}-26112{day}-000001-abcdef01")
    created = {"submission_id": "ts-1", "created_at": f"2026-11-2{day}T00:00:01.000+00:00", "number": 0}
    full = {**TRAIN, "name": name, "data": f"run://{read.run_id}", **job}
    resolved = job_from_data(full).model_dump(mode="json", by_alias=True)
    record.begin(resolved, **created)
    manifest = read.outcome.manifest
    torch.manual_seed(day)
    folder = Path(storage.path(record.at("model")))
    folder.mkdir(parents=True, exist_ok=True)
    made(manifest.vocab_size).save_pretrained(folder)
    for file in Path(storage.path(f"{read.outcome.data}/tokenizer")).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    hashes = {path.name: sha256(path.read_bytes()) for path in sorted(folder.iterdir())}
    storage.write_json(record.at("model/manifest.json"), {"files": hashes})
    lineage = training_lineage(
        run_id=record.run_id,
        job=resolved,
        code=CodeFacts(),
        data=DataOrigin(run_id=read.run_id),
        trial=None,
        checkpoint=None,
        model_sha256=hashes["model.safetensors"],
        environment={},
    )
    storage.write_json(record.at("lineage.json"), lineage.as_json())
    finished(record, "succeeded", metrics={}, model=record.at("model"))
    if version_of is not None:
        facts = {"run_id": record.run_id, "model": record.at("model"), "fingerprint": lineage.fingerprint}
        facts |= {"model_sha256": lineage.model_sha256, "metrics": {}}
        register(storage, VersionFacts(name=version_of, created_at=created["created_at"], **facts))
    return record


def evaluation(storage, name, run, version, *, passed, day=1, reasons=("accuracy is 0.5, and must be >= 0.9",)):
    """The Record of an evaluation of a run's model that has ended; None for one without a gate."""
    record = Record(storage, f"{name}-26112{day}-000002-abcdef01")
    created = {"submission_id": "ts-1", "created_at": f"2026-11-2{day}T00:00:02.000+00:00", "number": 0}
    record.begin({"kind": "evaluate", "name": name}, **created)
    verdict = None
    if passed is not None:
        verdict = {"require": {"accuracy": ">= 0.9"}, "passed": passed, "reasons": [] if passed else list(reasons)}
    said = {"model": version, "model_run": run.run_id, "data": "d-1", "split": "test", "samples": 4, "confidence": 0.95}
    said |= {"metrics": {"accuracy": {"value": 0.5}}, "verdict": verdict}
    finished(record, "failed" if passed is False else "succeeded", **json.loads(json.dumps(said)))
    return record
