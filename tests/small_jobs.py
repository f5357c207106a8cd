"""Small job documents for tests that hand them to the command, and their files in a folder."""

import json

import yaml

TRAIN = {
    "kind": "train",
    "model": {"kind": "gpt2", "layers": 1, "heads": 2, "width": 32, "dropout": 0.1},
    "optimizer": {"kind": "adamw", "learning_rate": 0.003},
    "schedule": {"kind": "cosine", "warmup_steps": 5},
    "workers": {"count": 2, "per_device_batch_size": 2},
    "global_batch_size": 8,
}
"""A training without its name, data and steps."""


def prepare(name, *, block_size=16):
    """The document that packs NAME.jsonl."""
    return {
        "kind": "prepare",
        "name": name,
        "source": {"kind": "jsonl", "path": f"{name}.jsonl"},
        "tokenizer": {"kind": "train_bpe", "vocab_size": 300},
        "pack": {"block_size": block_size},
        "split": {"validation": 0.2},
    }


def write_texts(folder, name, *, animals, verb, count=60):
    """NAME.jsonl with `count` texts: each is one sentence, many times."""
    said = [f"In one of {name} {n} the {animals[n % 2]} {verb} {n % 7} hours in the sun. " * 8 for n in range(count)]
    (folder / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in said))


def write(folder, *documents):
    """One job file of these documents, named after them."""
    file = folder / f"{'-'.join(one['name'] for one in documents)}.yaml"
    file.write_text("---\n".join(yaml.safe_dump(one, sort_keys=False) for one in documents))
    return file


def write_code(folder, name, code):
    """NAME.py, a task of one's own beside the job files."""
    (folder / f"{name}.py").write_text(code)
