"""Wrong jobs of fine-tuning: each is refused before anything is handed over, in one line that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.calling import call
from cli.tuning_jobs import at_home, in_yaml, models, refused

__all__ = ["at_home", "models"]

ASKED = {"role": "user", "content": "1+1?"}
SAID = {"role": "assistant", "content": "2"}
GOOD = [{"messages": [ASKED, SAID]}] * 40


def chat(*messages: Any) -> list[Any]:
    return [{"messages": [ASKED, SAID]}, {"messages": list(messages)}]


ROWS: dict[str, tuple[dict[str, Any], list[Any], str]] = {
    "no assistant": ({}, chat(ASKED), "no message of the assistant"),
    "the assistant first": ({}, chat(SAID, ASKED, SAID), "message 1: the assistant answers before anybody asked"),
    "the assistant twice": ({}, chat(ASKED, SAID, SAID), "message 3: the assistant answers twice in a row"),
    "system in the middle": ({}, chat(ASKED, {"role": "system", "content": "x"}, SAID), "system stands first"),
    "an unknown role": ({}, chat(ASKED, {"role": "bot", "content": "2"}), "message 2: role is 'bot'"),
    "no role": ({}, chat({"content": "1"}, SAID), "message 1: role is null"),
    "an image in a message": (
        {},
        chat({"role": "user", "content": [{"type": "image"}]}, SAID),
        "parts that are no text",
    ),
    "a number as content": (
        {},
        chat(ASKED, {"role": "assistant", "content": 2}),
        "content: expected text, found the number 2",
    ),
    "null as content": ({}, chat(ASKED, {"role": "assistant", "content": None}), "message 2: it has no content"),
    "messages as text": ({}, [{"messages": "1+1? 2"}], "messages: expected a list of messages, found '1+1? 2'"),
    "no messages": ({}, [{"text": "a"}], "no field 'messages'; it has text"),
    "a row that is a list": ({}, [["a", "b"]], "expected a JSON object, got a list"),
    "tools as text": ({}, [{"messages": [ASKED, SAID], "tools": "look"}], "tools: a text that is no JSON"),
    "a list as prompt": (
        {"format": "prompt_completion"},
        [{"prompt": ["a"], "completion": "b"}],
        "prompt: expected text, found a list of 1",
    ),
    "null as completion": (
        {"format": "prompt_completion"},
        [{"prompt": "a", "completion": None}],
        "completion: expected text, found null",
    ),
    "a number as completion": (
        {"format": "prompt_completion"},
        [{"prompt": "a", "completion": 7}],
        "completion: expected text, found the number 7",
    ),
    "alpaca without output": ({"format": "alpaca"}, [{"instruction": "a", "input": ""}], "no field 'output'"),
    "sharegpt said by nobody": (
        {"format": "sharegpt"},
        [{"conversations": [{"from": "me", "value": "a"}, {"from": "gpt", "value": "b"}]}],
        "conversations 1: from is 'me'",
    ),
    "nothing to prefer": (
        {"format": "preference"},
        [{"prompt": "a", "chosen": "b", "rejected": "b"}],
        "chosen and rejected are the same",
    ),
    "keys of no format": (
        {"format": "auto"},
        [{"question": "a", "answer": "b"}],
        "auto knows no rows with question, answer",
    ),
}

JOBS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "fields beside a format": ({"examples": {"text": "q"}}, {}, "format: it says which fields are read"),
    "a format that is none": ({"format": "chat"}, {}, "format: "),
    "a format of text files": ({"source": {"kind": "text_files", "path": "rows.jsonl"}}, {}, "no rows with keys"),
    "a new tokenizer without a template": (
        {"tokenizer": {"kind": "train_bpe", "vocab_size": 300}},
        {},
        "tokenizer.chat_template is missing",
    ),
    "a template that does not parse": (
        {"tokenizer": {"kind": "train_bpe", "vocab_size": 300, "chat_template": "{% for m in %}"}},
        {"model": {"kind": "llama", "layers": 1, "heads": 2, "width": 16}},
        "tokenizer.chat_template: does not parse",
    ),
    "conversations joined": (
        {"examples": None, "pack": {"block_size": 64, "documents": "joined"}},
        {},
        "messages is kept apart; joined is for texts",
    ),
    "no tokens at all": ({"examples": {"max_tokens": 0}}, {}, "max_tokens"),
    "a length policy that is none": ({"too_long": "cut"}, {}, "too_long"),
    "hidden words of conversations": (
        {},
        {"task": {"kind": "masked_lm"}},
        "masked_lm needs samples with text",
    ),
    "classes of conversations": (
        {},
        {"task": {"kind": "text_classification"}},
        "text_classification needs samples with text, label",
    ),
    "another tokenizer than the model's": ({"tokenizer": {"name_or_path": "OTHER"}}, {}, "has another tokenizer than"),
    "a tokenizer of the data for a model of others": (
        {"tokenizer": {"kind": "train_bpe", "vocab_size": 300, "chat_template": "chatml"}},
        {},
        "a pretrained model knows only its own tokens",
    ),
    "samples longer than the model": ({"examples": {"max_tokens": 512}}, {}, "the model takes 256 tokens"),
    "adapters that match nothing": (
        {},
        {"lora": {"target_modules": ["q_prj"]}},
        "lora.target_modules: no layer of the model is called 'q_prj'; did you mean 'q_proj'?",
    ),
    "an encoder that is to speak": (
        {"tokenizer": {"name_or_path": "ENCODER"}},
        {"model": {"kind": "pretrained", "name_or_path": "ENCODER"}},
        "a bert cannot be trained for causal_lm; it is trained for masked_lm, reward_model and text_classification",
    ),
    "blocks for a family that mixes documents": (
        {"examples": None, "pack": {"block_size": 64}},
        {"model": {"kind": "config", "model_type": "opt"}},
        "a opt is not known to keep the documents of a block apart",
    ),
    "adapters of rank 0": ({}, {"lora": {"rank": 0}}, "lora.rank"),
    "a broken template beside the tokenizer": (
        {"tokenizer": {"name_or_path": "BROKEN"}},
        {},
        "its chat template does not",
    ),
    "a tokenizer without a template": ({"tokenizer": {"name_or_path": "BARE"}}, {}, "has no chat template"),
    "weights that are a pickle": (
        {},
        {"model": {"kind": "pretrained", "name_or_path": "PICKLE"}},
        "no model.safetensors",
    ),
    "a folder that is not there": ({}, {"model": {"kind": "pretrained", "name_or_path": "NOWHERE"}}, "is not there"),
}


def documents(models: Path, prepare: dict[str, Any], train: dict[str, Any]) -> str:
    tokenizer = {"kind": "pretrained", "name_or_path": "MODEL"} | prepare.pop("tokenizer", {})
    if tokenizer["kind"] != "pretrained":
        tokenizer.pop("name_or_path")
    prepared = {
        "kind": "prepare",
        "name": "chats",
        "source": {"kind": "jsonl", "path": "rows.jsonl"},
        "format": "messages",
        "tokenizer": tokenizer,
        "examples": {"max_tokens": 128},
    } | prepare
    trained = {
        "kind": "train",
        "name": "tuned",
        "model": {"kind": "pretrained", "name_or_path": "MODEL"},
        "data": "run://chats",
        "optimizer": {"kind": "adamw", "learning_rate": 0.00001},
        "workers": {"count": 1, "per_device_batch_size": 4},
        "global_batch_size": 4,
        "steps": 10,
    } | train
    parts = [prepared] if prepared["format"] == "preference" else [prepared, trained]  # no answers to learn
    return in_yaml(parts, models)


@pytest.mark.parametrize("case", ROWS)
def test_wrong_rows_are_found_before_anything_is_handed_over(
    case: str, models: Path, tmp_path: Path, capsys: Any
) -> None:
    changes, rows, said = ROWS[case]
    line = refused(tmp_path, capsys, documents(models, dict(changes), {}), rows)
    assert said in line
    assert f"rows.jsonl:{len(rows)}: " in line, "the line of the row"


@pytest.mark.parametrize("case", JOBS)
def test_wrong_jobs_are_found_before_anything_is_handed_over(
    case: str, models: Path, tmp_path: Path, capsys: Any
) -> None:
    prepare, train, said = JOBS[case]
    assert said in refused(tmp_path, capsys, documents(models, dict(prepare), train), GOOD)


def test_the_job_that_all_of_them_change_is_right(models: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in GOOD))
    (tmp_path / "job.yaml").write_text(documents(models, {}, {}))
    done = call(capsys, "submit", tmp_path / "job.yaml", "--dry-run")
    assert done.code == 0, done.err
