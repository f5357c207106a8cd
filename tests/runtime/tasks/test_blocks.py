"""Documents of one block see nothing of each other: the loss of a block is that of its documents alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from task_cases import CASES
from trainshed.errors import PlatformError
from trainshed.runtime.modalities.text.collation import IGNORED
from trainshed.runtime.tasks.blocks import block_batch, refuse_where_documents_meet
from trainshed.runtime.tasks.tokens import token_loss
from trainshed.spec.training.models.blocks import KEEPS_APART

VOCABULARY = 60
SIZE = 32
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "sliding_window": 5,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "num_local_experts": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "attention_dropout": 0.0,
}
OTHER_NAMES = {"gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}}
DOCUMENTS = (7, 12, 1, 9)
"""Tokens of each; three of the block are padding."""


def model_of(kind: str, attention: str) -> Any:
    known = AutoConfig.for_model(kind)
    names = set(known.to_dict()) | set(known.attribute_map)
    said = {name: value for name, value in SMALL.items() if name in names} | OTHER_NAMES.get(kind, {})
    config = AutoConfig.for_model(kind, **said, use_cache=False)
    if getattr(config, "layer_types", None):  # one layer that sees all, one that slides
        config.layer_types = ["sliding_attention" if "sliding" in str(config.layer_types) else "full_attention"] * 2
        config.layer_types[0] = "full_attention"
    torch.manual_seed(0)
    try:
        return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    except ValueError as error:
        if "does not support an attention implementation" in str(error):
            pytest.skip(f"a {kind} has no {attention} attention")
        raise


def documents() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(3, VOCABULARY, size) for size in DOCUMENTS]


def loss_of(model: Any, batch: dict[str, torch.Tensor]) -> float:
    given = {name: tensor for name, tensor in batch.items() if name != "labels"}
    with torch.no_grad():
        logits = model(**given).logits
    return float(token_loss(logits[:, :-1], batch["labels"][:, 1:]))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", sorted(KEEPS_APART))
def test_the_loss_of_a_block_is_that_of_its_documents_alone(kind: str, attention: str) -> None:
    model = model_of(kind, attention)
    own = documents()
    block = block_batch([np.concatenate(own)], [np.array(DOCUMENTS)], None, size=SIZE, fill=0)
    alone = 0.0
    for document in own:
        ids = torch.from_numpy(document)[None]
        alone += loss_of(model, {"input_ids": ids, "labels": ids}) if len(document) > 1 else 0.0
    assert loss_of(model, block) == pytest.approx(alone, rel=1e-5)


def test_documents_that_are_joined_do_see_each_other() -> None:
    """Else the test above could not fail."""
    model = model_of("llama", "sdpa")
    ids = torch.from_numpy(np.concatenate(documents()))[None]
    labels = ids.clone()
    labels[0, np.cumsum(DOCUMENTS) - np.array(DOCUMENTS)] = IGNORED
    block = block_batch([ids[0].numpy()], [np.array(DOCUMENTS)], None, size=SIZE, fill=0)
    assert abs(loss_of(model, {"input_ids": ids, "labels": labels}) - loss_of(model, block)) > 1e-2


def test_a_block_counts_what_is_learnt_and_nothing_at_borders_or_in_padding() -> None:
    own = documents()
    mask = np.concatenate([np.arange(size) >= size // 2 for size in DOCUMENTS])
    whole = np.concatenate(own)
    batch = block_batch([whole], [np.array(DOCUMENTS)], [mask.astype(np.int64)], size=SIZE, fill=0)
    labels = batch["labels"][0].tolist()
    starts = np.cumsum(DOCUMENTS) - np.array(DOCUMENTS)
    for place in range(SIZE):
        learnt = place < len(whole) and mask[place] and place not in starts
        assert labels[place] == (whole[place] if learnt else IGNORED)
    positions = batch["position_ids"][0].tolist()
    assert positions == [*range(7), *range(12), 0, *range(9), *range(3)]


@pytest.mark.parametrize("name", [name for name in CASES if "blocks" in name])
def test_a_training_as_it_is_made_keeps_documents_apart(name: str, tmp_path: Path) -> None:
    """The task's own model and batch, as the loop has them: fresh, of existing weights, with adapters."""
    case = CASES[name](tmp_path / "tokenizer")
    task = case.task
    torch.manual_seed(0)
    model = task.make_model().train()
    taken = case.samples.take(np.arange(3))
    loss = float(task.loss(model, task.batch(taken, keys=[]), label_smoothing=0.0).detach())
    alone = 0.0
    for ids, mask, lengths in zip(taken["tokens"], taken["loss_mask"], taken["lengths"], strict=True):
        for first, size in zip(np.cumsum(lengths) - lengths, lengths, strict=True):
            piece = slice(first, first + size)
            row = {"tokens": [ids[piece]], "loss_mask": [mask[piece]]}
            alone += float(task.loss(model, task.batch(row, keys=[]), label_smoothing=0.0).detach())
    assert loss == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("kind", ["opt", "bloom", "mamba", "xglm"])
def test_a_family_that_cannot_is_refused_with_the_reason(kind: str) -> None:
    with pytest.raises(PlatformError, match=f"a {kind} is not known to keep the documents of a block apart"):
        refuse_where_documents_meet(AutoConfig.for_model(kind))
