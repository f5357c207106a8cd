"""Next-token prediction with the decoder models of transformers.

Knows how a shape becomes a transformers configuration; knows nothing of workers, engines or steps.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_never

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedConfig

from trainshed.errors import PlatformError
from trainshed.spec.models import Gpt2, Llama, Model

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


class CausalLmTask:
    """A decoder that predicts each token from those before it; see `trainshed.runtime.tasks.Task`."""

    unit = "token"

    def __init__(self, shape: Model, *, vocab_size: int, block_size: int, tokenizer: Path) -> None:
        if shape.context is not None and shape.context < block_size:
            raise PlatformError(f"model.context {shape.context} is under the data's block size {block_size}; raise it")
        self._tokenizer = tokenizer
        self._config = model_config(shape, vocab_size, shape.context or block_size, _end_of_text(tokenizer))

    def make_model(self) -> torch.nn.Module:
        """The model in fp32, without a key-value cache."""
        model: torch.nn.Module = AutoModelForCausalLM.from_config(self._config, attn_implementation="sdpa")
        return model

    def batch(self, rows: dict[str, Any], *, keys: list[tuple[int, ...]]) -> dict[str, torch.Tensor]:  # noqa: ARG002
        """`input_ids`, shape `(batch, time)`; nothing is drawn."""
        return {"input_ids": torch.from_numpy(rows["tokens"])}

    def weight(self, batch: dict[str, torch.Tensor]) -> float:
        """Tokens that are predicted: all but the first of each block."""
        samples, time = batch["input_ids"].shape
        return float(samples * (time - 1))

    def loss(
        self, forward: Callable[..., Any], batch: dict[str, torch.Tensor], *, label_smoothing: float
    ) -> torch.Tensor:
        """Cross-entropy of tokens 1..time-1 given those before, summed."""
        logits = forward(**batch).logits[:, :-1].float()
        targets = batch["input_ids"][:, 1:]
        return F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), label_smoothing=label_smoothing, reduction="sum"
        )

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Safetensors, config.json, generation_config.json and the tokenizer."""
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(self._config, attn_implementation="sdpa")
        model.config.use_cache = True
        model.config.dtype = next(iter(state.values())).dtype
        model.load_state_dict(state, assign=True)
        model.tie_weights()
        model.save_pretrained(folder)
        for name in TOKENIZER_FILES:
            shutil.copyfile(self._tokenizer / name, folder / name)


def model_config(shape: Model, vocab_size: int, context: int, end_of_text: int) -> PreTrainedConfig:
    """The transformers configuration of a shape."""
    shared: dict[str, Any] = {
        "vocab_size": vocab_size,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "use_cache": False,
    }
    match shape:
        case Gpt2():
            return GPT2Config(
                n_layer=shape.layers,
                n_head=shape.heads,
                n_embd=shape.width,
                n_positions=context,
                resid_pdrop=shape.dropout,
                embd_pdrop=shape.dropout,
                attn_pdrop=shape.dropout,
                **shared,
            )
        case Llama():
            return LlamaConfig(
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.heads,
                num_key_value_heads=shape.kv_heads or shape.heads,
                hidden_size=shape.width,
                intermediate_size=shape.inner,
                max_position_embeddings=context,
                attention_dropout=shape.dropout,
                tie_word_embeddings=shape.tie_embeddings,
                **shared,
            )
        case _:
            assert_never(shape)


def _end_of_text(tokenizer: Path) -> int:
    """The id of the tokenizer's end mark."""
    mark = json.loads((tokenizer / "tokenizer_config.json").read_text())["eos_token"]
    added = json.loads((tokenizer / "tokenizer.json").read_text())["added_tokens"]
    return int(next(token["id"] for token in added if token["content"] == mark))
