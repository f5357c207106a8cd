"""The two real cases of the sweeps' benchmarks: Shakespeare's characters, and the sentiment of SST-2's sentences.

Both are small enough for hundreds of trainings on two cores. The texts are not in this repository; `--data` names the
folder that has them: tinyshakespeare.txt, and sst2/train.tsv and sst2/dev.tsv (a sentence, a tab, 0 or 1 on each line).
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

STEPS = 120
EVERY = 10
"""Optimizer steps of a whole trial, and between two looks at its held-out loss."""
SCHEDULES = {
    "choice": [
        {"kind": "cosine", "floor": 0.05},
        {"kind": "wsd", "decay": 0.3},
        {"kind": "step", "every_steps": STEPS // 3, "gamma": 0.5},
    ]
}
WITH_WARMUP = {"schedule.kind": ["cosine", "wsd"]}
ASHA = {"kind": "asha", "grace_steps": STEPS // 4, "reduction": 2}
"""The first rung at a quarter of the steps, half of the trials go on: it keeps the winner (early_stopping.py)."""
RUNTIME = {
    "engine": {"kind": "ddp"},
    "steps": STEPS,
    "checkpoint": {"every_steps": STEPS, "keep": 1},
    "recovery": {"attempts": 0},
    "self_test": False,
}


@dataclass(frozen=True)
class Case:
    """A text with a small model for it."""

    name: str
    prepare: dict
    train: dict


def cases(data: Path) -> dict[str, Case]:
    """By name."""
    shakespeare = Case(
        "shakespeare",
        {
            "kind": "prepare",
            "name": "shakespeare",
            "source": {"kind": "text_files", "path": str(data / "tinyshakespeare.txt")},
            "tokenizer": {"kind": "characters"},
            "pack": {"block_size": 32},
            "split": {"by": "position", "validation": 0.1},
        },
        {
            "model": {"kind": "gpt2", "layers": 2, "heads": 2, "width": 48},
            "data": "run://shakespeare",
            "optimizer": {"kind": "adamw", "learning_rate": 3e-3, "weight_decay": 0.1, "betas": [0.9, 0.99]},
            "schedule": {"kind": "cosine", "warmup_steps": 10},
            "workers": {"count": 1, "per_device_batch_size": 12},
            "global_batch_size": 12,
            "validation": {"every_steps": EVERY, "max_samples": 96},
            **RUNTIME,
        },
    )
    sst2 = Case(
        "sst2",
        {
            "kind": "prepare",
            "name": "sst2",
            "source": {
                "kind": "csv",
                "path": str(data / "sst2" / "train.tsv"),
                "validation": str(data / "sst2" / "dev.tsv"),
                "delimiter": "\t",
                "columns": ["text", "label"],
                "quotes": False,
            },
            "tokenizer": {"kind": "train_bpe", "vocab_size": 2000, "special_tokens": ["cls", "sep"]},
            "examples": {"text": "text", "label": "label", "max_tokens": 32},
        },
        {
            "task": {"kind": "lstm_classifier"},
            "model": {"kind": "lstm", "width": 32, "hidden": 32},
            "data": "run://sst2",
            "optimizer": {"kind": "adamw", "learning_rate": 3e-3, "weight_decay": 0.1},
            "schedule": {"kind": "linear", "warmup_steps": 10},
            "workers": {"count": 1, "per_device_batch_size": 32},
            "global_batch_size": 32,
            "validation": {"every_steps": EVERY, "max_samples": 436},
            **RUNTIME,
        },
    )
    return {one.name: one for one in (shakespeare, sst2)}


def data_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--data`."""
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder with the texts")
