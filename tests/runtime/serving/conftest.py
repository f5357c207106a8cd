"""Tiny models and tokenizers on disk, as a training leaves them, and engines that hold them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from trainshed.runtime.serving.engines import EngineSettings, TextEngine, build_engine

TEXT = "def add(first, second):\n    return first + second\n\nclass Counter:\n    total = 0  # é € 😀\n" * 20
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'developer' %}{{ raise_exception('no developers here') }}"
    "{% endif %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
SIZES = {"vocab_size": 320, "bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.2}


@pytest.fixture(scope="session")
def gpt2_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gpt2(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="session")
def chat_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gpt2(tmp_path_factory.mktemp("chat"), chat_template=CHAT_TEMPLATE)


@pytest.fixture(scope="session")
def llama_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    write_tokenizer(folder)
    torch.manual_seed(1)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        pad_token_id=0,
        **SIZES,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def engine(gpt2_dir: Path) -> Iterator[TextEngine]:
    built = build_engine(gpt2_dir, EngineSettings())
    yield built
    built.stop()


@pytest.fixture(scope="session")
def tight_engine(gpt2_dir: Path) -> Iterator[TextEngine]:
    """An engine that holds six requests, whose cache holds one or two of the longest."""
    built = build_engine(gpt2_dir, EngineSettings(max_requests=6, cache_tokens=192))
    yield built
    built.stop()


@pytest.fixture
def own_engine(gpt2_dir: Path) -> Iterator[TextEngine]:
    """An engine that a test may break."""
    built = build_engine(gpt2_dir, EngineSettings())
    yield built
    built.stop()


@pytest.fixture(scope="session")
def chat_engine(chat_dir: Path) -> Iterator[TextEngine]:
    built = build_engine(chat_dir, EngineSettings())
    yield built
    built.stop()


@pytest.fixture(scope="session")
def roomy_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TextEngine]:
    """An engine whose longest token is so long that a prompt of a whole body may fit its context."""
    folder = write_gpt2(tmp_path_factory.mktemp("roomy"), positions=4096, text=TEXT + "z" * 1024 * 50)
    built = build_engine(folder, EngineSettings())
    yield built
    built.stop()


def hashes_of(folder: Path) -> dict[str, str]:
    """What the manifest of an export says of its files."""
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir()) if path.is_file()}


def write_gpt2(folder: Path, *, positions: int = 256, chat_template: str | None = None, text: str = TEXT) -> Path:
    write_tokenizer(folder, chat_template=chat_template, text=text)
    torch.manual_seed(0)
    config = GPT2Config(n_positions=positions, n_embd=64, n_layer=2, n_head=4, **SIZES)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path, *, chat_template: str | None = None, text: str = TEXT) -> None:
    """A byte-level BPE tokenizer of at most 320 tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZES["vocab_size"],
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = dict.fromkeys(("eos_token", "bos_token", "pad_token"), "<|endoftext|>")
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if chat_template is not None:
        config["chat_template"] = chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
