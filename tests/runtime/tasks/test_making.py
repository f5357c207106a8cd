"""A fresh model is made part by part: the same weights wherever the parts go, and never all of them in one place."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    T5Config,
    ViTConfig,
)

from trainshed.runtime.tasks.making import made_in_parts
from trainshed.runtime.tasks.weight_roles import layers_of

MODELS = {
    "gpt2": (AutoModelForCausalLM, GPT2Config(n_layer=4, n_head=2, n_embd=32, vocab_size=64, n_positions=16)),
    "llama": (
        AutoModelForCausalLM,
        LlamaConfig(
            num_hidden_layers=4, hidden_size=32, num_attention_heads=2, intermediate_size=64, vocab_size=64
        ),
    ),
    "bert": (
        AutoModelForSequenceClassification,
        BertConfig(num_hidden_layers=4, hidden_size=32, num_attention_heads=2, intermediate_size=64, vocab_size=64),
    ),
    "t5": (
        AutoModelForSeq2SeqLM,
        T5Config(num_layers=2, d_model=32, d_kv=16, num_heads=2, d_ff=64, vocab_size=64),
    ),
    "bart": (
        AutoModelForSeq2SeqLM,
        BartConfig(
            encoder_layers=2, decoder_layers=2, d_model=32, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=64, decoder_ffn_dim=64, vocab_size=64, max_position_embeddings=16,
        ),
    ),
    "vit": (
        AutoModelForImageClassification,
        ViTConfig(
            num_hidden_layers=4, hidden_size=32, num_attention_heads=2, intermediate_size=64, image_size=8,
            patch_size=2, num_channels=1,
        ),
    ),
}  # fmt: skip


def make(name, **how):
    auto, config = MODELS[name]
    torch.manual_seed(0)
    return made_in_parts(lambda: auto.from_config(config, dtype=torch.float32), **how)


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_is_there_and_drawn_as_its_family_draws_it(name):
    auto, config = MODELS[name]
    torch.manual_seed(1)
    plain, ours = auto.from_config(config, dtype=torch.float32), make(name)
    assert not any(tensor.is_meta for tensor in [*ours.parameters(), *ours.buffers()])
    assert [key for key, _ in ours.named_parameters()] == [key for key, _ in plain.named_parameters()]
    for (key, mine), (_, theirs) in zip(ours.named_parameters(), plain.named_parameters(), strict=True):
        assert float(mine.detach().std(correction=0)) == pytest.approx(
            float(theirs.detach().std(correction=0)), rel=0.35, abs=1e-3
        ), key
        assert float(mine.detach().mean()) == pytest.approx(float(theirs.detach().mean()), abs=0.1), key
    for (key, mine), (_, theirs) in zip(ours.named_buffers(), plain.named_buffers(), strict=True):
        assert torch.equal(mine, theirs), key


@pytest.mark.parametrize("growth", [1.0, 4.0])
@pytest.mark.parametrize("name", MODELS)
def test_parts_that_are_taken_away_at_once_are_the_same_and_never_all_there(name, growth):
    whole = {key: value.clone() for key, value in make(name, growth=growth).state_dict().items()}
    sizes, taken, called_layers = [], {}, []

    def take(part, *, layer):
        for parameter in part.parameters():
            if parameter.numel():
                taken[id(parameter)] = parameter.detach().clone()
                parameter.data = torch.empty(0)
        sizes.append(sum(value.numel() for value in taken.values()))
        called_layers.extend([part] if layer else [])

    model = make(name, place=take, growth=growth)
    assert called_layers == [layer for _, layer in layers_of(model)]
    assert len(called_layers) == 4
    assert all(parameter.numel() == 0 for parameter in model.parameters())
    got = {key: taken[id(parameter)] for key, parameter in model.named_parameters(remove_duplicate=False)}
    assert all(torch.equal(got[key], whole[key]) for key in got)
    parts = [size - before for before, size in zip([0, *sizes], sizes, strict=False)]
    layers = [part for part in parts if part > 0]
    assert max(layers) < 0.5 * sum(layers)
