"""Wrong jobs of preference tuning: each is refused before anything is handed over, in one line that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.calling import call
from cli.tuning_jobs import at_home, in_yaml, models, refused

__all__ = ["at_home", "models"]

GOOD = [{"prompt": "1+1?", "chosen": "2", "rejected": "3"}] * 40
PAIR = {"prompt": "1+1?", "chosen": "2"}
TURNS = [{"role": "user", "content": "1+1?"}]

ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "the same answer twice": ({**PAIR, "rejected": "2"}, "chosen and rejected are the same; there is nothing"),
    "no rejected answer": (PAIR, "no field 'rejected'; it has prompt, chosen"),
    "a number as answer": ({**PAIR, "rejected": 3}, "rejected: expected text, found the number 3"),
    "null as answer": ({**PAIR, "rejected": None}, "rejected: expected text, found null"),
    "an answer that ends with a question": ({**PAIR, "rejected": TURNS}, "rejected: it ends with no answer"),
    "two conversations of different questions": (
        {"chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
         "rejected": [{"role": "user", "content": "c"}, {"role": "assistant", "content": "b"}]},
        "no prompt, and chosen and rejected begin differently",
    ),
}  # fmt: skip

MODEL = {"kind": "pretrained", "name_or_path": "MODEL"}
JOBS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = {
    "no reference": ({}, {}, {"data": "run://pairs"}, "data: task dpo compares with a reference, and run://pairs has"),
    "a reference of what is no preference": (
        {"format": "prompt_completion"}, {}, {}, "task: dpo needs samples with preference",
    ),
    "comparisons for a language model": (
        {}, {}, {"task": {"kind": "causal_lm"}}, "task: causal_lm needs samples with text; the data is examples",
    ),
    "a loss that is none": ({}, {}, {"task": {"kind": "dpo", "loss": "sigmod"}}, "task.loss"),
    "a beta of nothing": ({}, {}, {"task": {"kind": "dpo", "beta": 0}}, "task.beta"),
    "pairs that are all the wrong way around": (
        {}, {}, {"task": {"kind": "dpo", "label_smoothing": 0.5}}, "task.label_smoothing",
    ),
    "smoothing in a loss without it": (
        {}, {}, {"task": {"kind": "dpo", "loss": "ipo", "label_smoothing": 0.1}}, "is a part of loss sigmoid, and loss",
    ),
    "smoothing of labels that are not there": (
        {}, {}, {"regularization": {"label_smoothing": 0.1}}, "dpo learns from comparisons; say task.label_smoothing",
    ),
    "packed pairs": (
        {"examples": None, "pack": {"block_size": 64}}, {}, {}, "pack: a preference is compared as a whole",
    ),
    "a reference of another architecture": (
        {}, {"model": {"kind": "pretrained", "name_or_path": "DEEPER"}}, {},
        "data: the reference of run://measured has layers 2, and the model 1",
    ),
    "a reference that cannot speak": (
        {"tokenizer": {"name_or_path": "ENCODER"}}, {"model": {"kind": "pretrained", "name_or_path": "ENCODER"}}, {},
        "a bert cannot be trained for dpo",
    ),
    "a reference with another tokenizer": (
        {"tokenizer": {"name_or_path": "OTHER"}}, {}, {}, "has another tokenizer than",
    ),
    "a reference that is a pickle": ({}, {"model": {"kind": "pretrained", "name_or_path": "PICKLE"}}, {}, "no model."),
    "a reference that is not there": ({}, {"model": {"kind": "pretrained", "name_or_path": "NOWHERE"}}, {}, "not ther"),
    "a reference from scratch": (
        {}, {"model": {"kind": "gpt2", "layers": 1}}, {}, 'model.kind: got "gpt2"; known here: pretrained',
    ),
    "a reference of a version that is not there": (
        {}, {"model": {"kind": "pretrained", "name_or_path": "chat@7"}}, {}, "no model 'chat' is registered",
    ),
    "a reference under an engine that trains": ({}, {"engine": {"kind": "deepspeed"}}, {}, "engine"),
    "a reference of a reference": ({}, {"data": "run://measured"}, {}, "run://measured stands later in the file"),
    "pairs longer than the model": ({"examples": {"max_tokens": 512}}, {}, {}, "the model takes 256 tokens"),
    "an encoder that prefers": (
        {"tokenizer": {"name_or_path": "ENCODER"}}, None,
        {"task": {"kind": "orpo"}, "data": "run://pairs", "model": {"kind": "pretrained", "name_or_path": "ENCODER"}},
        "a bert cannot be trained for orpo",
    ),
}  # fmt: skip


def documents(models: Path, prepare: dict[str, Any], reference: dict[str, Any] | None, train: dict[str, Any]) -> str:
    prepared = {
        "kind": "prepare",
        "name": "pairs",
        "source": {"kind": "jsonl", "path": "rows.jsonl"},
        "format": "preference",
        "examples": {"max_tokens": 64},
        **prepare,
        "tokenizer": {"kind": "pretrained", "name_or_path": "MODEL"} | prepare.get("tokenizer", {}),
    }
    measured = {"kind": "reference", "name": "measured", "data": "run://pairs", "model": MODEL}
    trained = {
        "kind": "train",
        "name": "preferred",
        "task": {"kind": "dpo"},
        "model": MODEL,
        "data": "run://measured",
        "optimizer": {"kind": "adamw", "learning_rate": 0.000001},
        "workers": {"count": 1, "per_device_batch_size": 4},
        "global_batch_size": 4,
        "steps": 10,
    }
    middle = [] if reference is None else [measured | reference]
    return in_yaml([prepared, *middle, trained | train], models)


@pytest.mark.parametrize("case", ROWS)
def test_wrong_comparisons_are_found_before_anything_is_handed_over(
    case: str, models: Path, tmp_path: Path, capsys: Any
) -> None:
    row, said = ROWS[case]
    line = refused(tmp_path, capsys, documents(models, {}, {}, {}), [*GOOD[:3], row])
    assert said in line
    assert "rows.jsonl:4: " in line, "the line of the row"


@pytest.mark.parametrize("case", JOBS)
def test_wrong_jobs_are_found_before_anything_is_handed_over(
    case: str, models: Path, tmp_path: Path, capsys: Any
) -> None:
    prepare, reference, train, said = JOBS[case]
    rows = [{"prompt": "a", "completion": "b"}] * 9 if "format" in prepare else GOOD
    assert said in refused(tmp_path, capsys, documents(models, prepare, reference, train), rows, most=3)


@pytest.mark.parametrize(
    "train",
    [
        {},
        {"data": "run://pairs", "lora": {"rank": 4}},
        {"data": "run://pairs", "task": {"kind": "orpo"}},
        {"data": "run://pairs", "task": {"kind": "reward_model"}},
        {"task": {"kind": "dpo", "label_smoothing": 0.1}},
    ],
    ids=["dpo", "adapters without a reference", "orpo", "reward model", "smoothing"],
)
def test_what_all_of_them_change_is_right(train: dict[str, Any], models: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in GOOD))
    (tmp_path / "job.yaml").write_text(documents(models, {}, {}, train))
    done = call(capsys, "submit", tmp_path / "job.yaml", "--dry-run")
    assert done.code == 0, done.err
