"""Job documents as plain data, for tests to break in one place."""

import copy
from typing import Any

import yaml

PREPARE: dict[str, Any] = {
    "kind": "prepare",
    "name": "text",
    "source": {"kind": "text_files", "path": "python-stdlib"},
    "tokenizer": {"kind": "train_bpe", "vocab_size": 512},
    "pack": {"block_size": 64},
}
TRAIN: dict[str, Any] = {
    "kind": "train",
    "name": "model",
    "model": {"kind": "gpt2", "layers": 2, "heads": 2, "width": 32},
    "data": "run://text",
    "optimizer": {"kind": "adamw", "learning_rate": 0.001},
    "schedule": {"kind": "cosine", "warmup_steps": 2},
    "workers": {"count": 2, "per_device_batch_size": 2},
    "global_batch_size": 8,
    "steps": 10,
}
TUNE: dict[str, Any] = {
    "kind": "tune",
    "name": "sweep",
    "train": {key: value for key, value in TRAIN.items() if key not in ("kind", "name")},
    "space": {"optimizer.learning_rate": {"log_uniform": [0.0001, 0.01]}},
    "search": {"kind": "random", "trials": 2},
}


def changed(job: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A copy with dotted keys (`__` for the dot) set; None removes the key."""
    job = copy.deepcopy(job)
    for path, value in values.items():
        *parents, last = path.split("__")
        here = job
        for parent in parents:
            here = here[parent]
        if value is None:
            here.pop(last)
        else:
            here[last] = value
    return job


def text(*jobs: dict[str, Any]) -> str:
    """The documents as one YAML text."""
    return "---\n".join(yaml.safe_dump(job, sort_keys=False) for job in jobs)
