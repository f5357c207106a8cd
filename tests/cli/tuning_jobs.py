"""Jobs over existing models in folders, some of them broken, and the command that refuses what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM

from chat_shapes import SHAPES
from cli.calling import call

FOLDERS = ("MODEL", "OTHER", "BROKEN", "BARE", "PICKLE", "NOWHERE", "ENCODER", "DEEPER")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of models: MODEL is whole, DEEPER has a layer more; BARE, BROKEN, OTHER and PICKLE lack what they say."""
    root = tmp_path_factory.mktemp("models")
    shape = SHAPES["llama 3"]
    tokenizer = shape.tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=256, **sizes)
    LlamaForCausalLM(config).save_pretrained(root / "MODEL")
    LlamaForCausalLM(LlamaConfig(**{**config.to_dict(), "num_hidden_layers": 2})).save_pretrained(root / "DEEPER")
    BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(root / "ENCODER")
    for name in ("MODEL", "BROKEN", "BARE", "ENCODER", "DEEPER"):
        tokenizer.save_pretrained(str(root / name))
    (root / "BROKEN" / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }")
    (root / "BARE" / "chat_template.jinja").unlink()
    SHAPES["chatml"].tokenizer().save_pretrained(str(root / "OTHER"))
    (root / "PICKLE").mkdir()
    (root / "PICKLE" / "config.json").write_text((root / "MODEL" / "config.json").read_text())
    (root / "PICKLE" / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    return root


def in_yaml(documents: list[dict[str, Any]], models: Path) -> str:
    """A job file, with the folders of models in the place of their names."""
    said = "---\n".join(yaml.safe_dump(one, sort_keys=False) for one in documents)
    for name in FOLDERS:
        said = said.replace(f"name_or_path: {name}\n", f"name_or_path: {models / name}\n")
    return said


def refused(folder: Path, capsys: Any, content: str, rows: list[Any], *, most: int = 1) -> str:
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "job.yaml").write_text(content)
    done = call(capsys, "submit", folder / "job.yaml", "--dry-run")
    assert done.code == 2, done.out + done.err
    lines = done.err.strip().splitlines()
    assert len(lines) <= most, done.err
    assert all(str(folder / "job.yaml") in line for line in lines), done.err
    return "\n".join(lines)


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    for name in ("PLATFORM_STORAGE", "PLATFORM_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
