"""A training that has ended, as files: a small model in the shape of a real one, exported, with lineage and result."""

import shutil
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from results_on_disk import finished
from trainshed.record.built_on import prepared
from trainshed.record.facts import CodeFacts, VersionFacts
from trainshed.record.lineage import sha256, training_lineage
from trainshed.record.registry import register
from trainshed.record.results import DataOrigin
from trainshed.record.run import Record

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
ROTARY = {**SIZES, "num_key_value_heads": 1, "max_position_embeddings": 32}


def gpt2(vocab):
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocab, n_embd=16, n_layer=1, n_head=2, n_positions=32))


def llama(vocab):
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocab, **ROTARY))


def qwen3(vocab):
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=vocab, head_dim=8, **ROTARY))


def bert(vocab):
    return BertForMaskedLM(BertConfig(vocab_size=vocab, max_position_embeddings=32, **SIZES))


def trained(storage, name, make, data, *, day=1, version_of=None):
    """Its Record; `make` gives the model for a vocabulary; `data` is the prepare run, whose tokenizer is exported."""
    record = Record(storage, f"{name}-26112{day}-000001-abcdef01")
    created = {"submission_id": "ts-1", "created_at": f"2026-11-2{day}T00:00:01.000+00:00", "number": 0}
    record.begin({"kind": "train", "name": name}, **created)
    made = prepared(data)
    torch.manual_seed(day)
    folder = Path(storage.path(record.at("model")))
    make(made.manifest.vocab_size).save_pretrained(folder)
    shutil.copytree(storage.path(f"{made.data}/tokenizer"), folder, dirs_exist_ok=True)
    hashes = {path.name: sha256(path.read_bytes()) for path in sorted(folder.iterdir())}
    storage.write_json(record.at("model/manifest.json"), {"files": hashes})
    lineage = training_lineage(
        run_id=record.run_id,
        job={},
        code=CodeFacts(),
        data=DataOrigin(run_id=data.run_id),
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
