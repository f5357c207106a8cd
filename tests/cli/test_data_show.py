"""`platform data show`: rows as they will be trained, of a job file on this machine and of data in storage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from chat_shapes import SHAPES
from cli.calling import call

JOB: dict[str, Any] = {
    "kind": "prepare",
    "name": "chats",
    "source": {"kind": "jsonl", "path": "chats.jsonl"},
    "format": "auto",
    "examples": {"max_tokens": 64},
}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    SHAPES["chatml"].tokenizer().save_pretrained(str(tmp_path / "model"))
    asked = {"role": "user", "content": "Say a \x1b[31mnumber"}
    rows = [{"messages": [asked, {"role": "assistant", "content": "7 " * n}]} for n in (1, 2, 300)]
    (tmp_path / "chats.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    said = JOB | {"tokenizer": {"kind": "pretrained", "name_or_path": str(tmp_path / "model")}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(said))
    return tmp_path / "job.yaml"


def test_what_is_learnt_is_marked_and_lengths_and_cuts_are_counted(job: Path, capsys: Any) -> None:
    done = call(capsys, "data", "show", job, "--rows", "2")
    assert done.code == 0, done.err
    assert "chats.jsonl:1: " in done.out
    assert "<|im_start|>assistant\n»7 <|im_end|>«\n" in done.out
    assert "\x1b" not in done.out, "a row gives orders to the terminal"
    assert "format      messages" in done.out
    assert "cut         1" in done.out
    assert "of the 3 rows looked at" in done.out


def test_programs_read_the_same_as_json(job: Path, capsys: Any) -> None:
    [found] = json.loads(call(capsys, "data", "show", job, "--json").out)
    assert (found["format"], found["looked_at"], found["fates"]) == ("messages", 3, {"cut": 1})
    first = found["rows"][0]
    assert first["learnt"] == 3
    assert [text for text, learnt in first["pieces"] if learnt] == ["7 <|im_end|>"]


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"format": "alpaca"}, 1, "no field 'instruction'; it has messages"),
        (
            {"tokenizer": {"kind": "pretrained", "name_or_path": "/nowhere/model"}},
            1,
            "/nowhere/model: no such directory",
        ),
        ({"source": {"kind": "jsonl", "path": "none.jsonl"}}, 1, "no file matches"),
        ({"kind": "serve", "name": "x", "model": "m@1"}, 2, "job.yaml"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(
    job: Path, capsys: Any, changes: dict[str, Any], code: int, said: str
) -> None:
    job.write_text(yaml.safe_dump(yaml.safe_load(job.read_text()) | changes))
    done = call(capsys, "data", "show", job)
    assert done.code == code
    assert said in done.err
    assert "Traceback" not in done.err
