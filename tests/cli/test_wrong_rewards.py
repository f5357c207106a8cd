"""Wrong jobs that learn from a reward: each is refused before anything is handed over, in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.calling import call
from cli.tuning_jobs import at_home, in_yaml, models, refused

__all__ = ["at_home", "models"]

ROWS = [{"prompt": "1+1?", "completion": "2"}] * 40
RIGHT = "def score(prompt, answer, expected):\n    return 1.0\n"
MODEL = {"kind": "pretrained", "name_or_path": "MODEL"}
JOBS: dict[str, tuple[dict[str, Any], dict[str, Any], str | None, str]] = {
    "no module": ({}, {}, None, "task.reward: no rewards.py beside the job file"),
    "a module that is no Python": ({}, {}, "def score(:\n", "rewards.py cannot be read as Python"),
    "no such function": ({}, {}, "def scores(**asked):\n    return 1\n", "has no function 'score'; did you mean"),
    "a class in its place": ({}, {}, "class score:\n    pass\n", "has no function 'score'; it defines no function"),
    "a function of other names": (
        {}, {}, "def score(question, answer):\n    return 1\n", "takes no prompt and no expected; it is called with",
    ),
    "a path in its place": ({}, {"task": {"reward": "../rewards:score"}}, RIGHT, "say my_module:my_function"),
    "no reward at all": ({}, {"task": {"reward": None}}, RIGHT, "task.reward"),
    "a group of one": ({}, {"task": {"group_size": 1}}, RIGHT, "task.group_size"),
    "no time to judge": ({}, {"task": {"reward_timeout_s": 0}}, RIGHT, "task.reward_timeout_s"),
    "a negative divergence": ({}, {"task": {"beta": -0.1}}, RIGHT, "task.beta"),
    "answers longer than the model": ({}, {"task": {"max_new_tokens": 250}}, RIGHT, "the model takes 256 tokens"),
    "smoothing of labels that are not there": (
        {}, {"regularization": {"label_smoothing": 0.1}}, RIGHT, "grpo learns from rewards; leave it out",
    ),
    "blocks of prompts": (
        {"examples": None, "pack": {"block_size": 64}}, {}, RIGHT, "grpo asks one prompt after another",
    ),
    "comparisons": ({"format": "preference"}, {}, RIGHT, "task: grpo needs samples with text, target"),
    "an encoder that answers": (
        {"tokenizer": {"name_or_path": "ENCODER"}}, {"model": {"kind": "pretrained", "name_or_path": "ENCODER"}}, RIGHT,
        "a bert cannot be trained for grpo",
    ),
    "a divergence from a checkpoint": (
        {}, {"model": {"kind": "llama", "layers": 1, "heads": 2, "width": 16}, "init_from": "run://other",
             "task": {"beta": 0.1}}, RIGHT, "task.beta 0.1 holds the model that it began with",
    ),
}  # fmt: skip


def documents(models: Path, prepare: dict[str, Any], train: dict[str, Any]) -> str:
    prepared = {
        "kind": "prepare",
        "name": "prompts",
        "source": {"kind": "jsonl", "path": "rows.jsonl"},
        "format": "prompt_completion",
        "examples": {"max_tokens": 64},
        **prepare,
        "tokenizer": {"kind": "pretrained", "name_or_path": "MODEL"} | prepare.get("tokenizer", {}),
    }
    task = {"kind": "grpo", "reward": "rewards:score", "max_new_tokens": 32} | train.get("task", {})
    trained = {
        "kind": "train",
        "name": "rewarded",
        "model": MODEL,
        "data": "run://prompts",
        "optimizer": {"kind": "adamw", "learning_rate": 0.000001},
        "workers": {"count": 1, "per_device_batch_size": 4},
        "global_batch_size": 4,
        "steps": 10,
        **train,
        "task": {name: value for name, value in task.items() if value is not None},
    }
    return in_yaml([prepared, trained], models)


@pytest.mark.parametrize("case", JOBS)
def test_wrong_jobs_are_found_before_anything_is_handed_over(
    case: str, models: Path, tmp_path: Path, capsys: Any
) -> None:
    prepare, train, code, said = JOBS[case]
    if code is not None:
        (tmp_path / "rewards.py").write_text(code)
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 9 if "format" in prepare else ROWS
    assert said in refused(tmp_path, capsys, documents(models, prepare, train), rows, most=2)


def test_the_job_that_all_of_them_change_is_right(models: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    (tmp_path / "rewards.py").write_text(RIGHT)
    (tmp_path / "job.yaml").write_text(documents(models, {}, {}))
    done = call(capsys, "submit", tmp_path / "job.yaml", "--dry-run")
    assert done.code == 0, done.err
