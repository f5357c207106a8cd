"""The peak of a pass by arithmetic is that of a real one: layers, logits of a large vocabulary, their gradients."""

from dataclasses import replace

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    OPTConfig,
    PhiConfig,
    Qwen3Config,
    Qwen3MoeConfig,
)

from peak_memory import PeakMemory
from trainshed.runtime.tasks.chunked import ChunkedHead
from trainshed.runtime.tasks.tokens import token_loss
from trainshed.spec.plan.described import described_layers, described_vocabulary
from trainshed.spec.plan.model import ModelCost, activation_bytes

TOKENS, SAMPLES = 96, 4
SIZES = {
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 160, "use_cache": False, "tie_word_embeddings": True,
}  # fmt: skip
SHAPES = {
    "llama": lambda vocabulary: LlamaConfig(**SIZES, vocab_size=vocabulary),
    "qwen3 with its own head size": lambda vocabulary: Qwen3Config(**SIZES, vocab_size=vocabulary, head_dim=32),
    "gemma": lambda vocabulary: GemmaConfig(**SIZES, vocab_size=vocabulary, head_dim=32, pad_token_id=0),
    "phi": lambda vocabulary: PhiConfig(**SIZES, vocab_size=vocabulary),
    "gpt2": lambda vocabulary: GPT2Config(
        n_embd=64, n_layer=4, n_head=4, vocab_size=vocabulary, n_positions=TOKENS, use_cache=False),
    "opt": lambda vocabulary: OPTConfig(
        hidden_size=64, num_hidden_layers=4, num_attention_heads=4, ffn_dim=160, vocab_size=vocabulary,
        word_embed_proj_dim=64, max_position_embeddings=TOKENS, use_cache=False, dropout=0.0),
    "mixtral": lambda vocabulary: MixtralConfig(
        **SIZES, vocab_size=vocabulary, num_local_experts=4, num_experts_per_tok=2),
    "qwen3 moe": lambda vocabulary: Qwen3MoeConfig(
        **SIZES, vocab_size=vocabulary, head_dim=32, moe_intermediate_size=64, num_experts=8, num_experts_per_tok=2),
}  # fmt: skip


def peak_of_a_pass(model, head=None):
    """Bytes beside weights and gradients; with `head` its losses are taken in chunks."""
    ids = torch.randint(2, model.config.vocab_size, (SAMPLES, TOKENS))
    for parameter in model.parameters():  # each gradient is gone at once
        parameter.register_post_accumulate_grad_hook(lambda own: setattr(own, "grad", None))

    def one_pass():
        if head is None:
            loss = token_loss(model(input_ids=ids).logits[:, :-1], ids[:, 1:])
        else:
            with head.asked(ids):
                loss = model(input_ids=ids).logits[..., 0].sum()
        loss.backward()

    one_pass()  # what is made once, such as tables of positions
    with PeakMemory(model) as memory:
        one_pass()
    return memory.peak


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("vocabulary", [500, 8_000])
@pytest.mark.parametrize("name", SHAPES)
def test_the_peak_of_a_pass_is_what_the_plan_says(name, vocabulary, dtype):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(SHAPES[name](vocabulary)).to(dtype).train()
    said = model.config.to_dict()
    cost = ModelCost(1, 1, TOKENS, described_vocabulary(said), described_layers(said))
    planned = activation_bytes(cost, SAMPLES, width=dtype.itemsize, checkpointing=False, gpu=False)
    ratio = planned / peak_of_a_pass(model)
    assert 0.9 <= ratio <= 1.1


@pytest.mark.parametrize("vocabulary", [500, 8_000])
def test_the_peak_where_activations_are_computed_again_is_what_the_plan_says(vocabulary):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(SHAPES["llama"](vocabulary)).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    said = model.config.to_dict()
    cost = ModelCost(1, 1, TOKENS, described_vocabulary(said), described_layers(said))
    planned = activation_bytes(cost, SAMPLES, width=4, checkpointing=True, gpu=False)
    ratio = planned / peak_of_a_pass(model)
    assert 0.9 <= ratio <= 1.1


@pytest.mark.parametrize("name", ["llama", "gemma", "opt"])
def test_the_peak_with_logits_in_chunks_is_what_the_plan_says(name, monkeypatch):
    monkeypatch.setattr("trainshed.spec.plan.model.tokens_at_once", lambda tokens, vocabulary: 48)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(SHAPES[name](8_000)).train()
    head = ChunkedHead(model.config, lambda tokens, vocabulary: 48)
    head.put_on(model)
    said = model.config.to_dict()
    cost = ModelCost(1, 1, TOKENS, described_vocabulary(said), described_layers(said), in_chunks=True)
    planned = activation_bytes(cost, SAMPLES, width=4, checkpointing=False, gpu=False)
    whole = activation_bytes(replace(cost, in_chunks=False), SAMPLES, width=4, checkpointing=False, gpu=False)
    measured = peak_of_a_pass(model, head)
    assert 0.9 <= planned / measured <= 1.1
    assert planned < 0.6 * whole
