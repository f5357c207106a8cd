"""Existing weights are the same whether a model is loaded whole or part by part, and so is all that is drawn beside."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    RobertaConfig,
    T5Config,
    ViTConfig,
)

from trainshed.errors import PlatformError
from trainshed.runtime.models.locate import read_config
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.weights import TransformersModel
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.optimizers import AdamW
from trainshed.spec.training.tasks import CausalLm, ImageClassification, MaskedLm, Seq2SeqLm, TextClassification
from trainshed.spec.training.train import Training

SHAPE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 64,
    "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
ROTARY = {**SHAPE, "num_key_value_heads": 1}
MARKS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": 64}
EXPERTS = {**ROTARY, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2, "head_dim": 16}
ONE = {"steps": 1, "global_batch_size": 8}
CAUSAL = (AutoModelForCausalLM, CausalLm())
LABELS = (AutoModelForSequenceClassification, TextClassification())
FAMILIES = {
    "llama": (*CAUSAL, LlamaConfig(**ROTARY)),
    "llama-tied": (*CAUSAL, LlamaConfig(**ROTARY, tie_word_embeddings=True)),
    "qwen2": (*CAUSAL, Qwen2Config(**ROTARY)),
    "qwen3": (*CAUSAL, Qwen3Config(**ROTARY, head_dim=24)),
    "mistral": (*CAUSAL, MistralConfig(**ROTARY)),
    "gemma2": (*CAUSAL, Gemma2Config(**ROTARY, head_dim=16)),
    "gemma3": (*CAUSAL, Gemma3TextConfig(**ROTARY, head_dim=16)),
    "phi": (*CAUSAL, PhiConfig(**SHAPE)),
    "phi3": (*CAUSAL, Phi3Config(**ROTARY)),
    "gpt2": (*CAUSAL, GPT2Config(n_layer=2, n_head=2, n_embd=32, n_positions=16, **MARKS)),
    "opt": (*CAUSAL, OPTConfig(**{**SHAPE, "ffn_dim": 64, "word_embed_proj_dim": 32})),
    "mixtral": (*CAUSAL, MixtralConfig(**ROTARY, num_local_experts=4)),
    "qwen3-moe": (*CAUSAL, Qwen3MoeConfig(**EXPERTS)),
    "bert": (AutoModelForMaskedLM, MaskedLm(), BertConfig(**SHAPE)),
    "roberta": (AutoModelForMaskedLM, MaskedLm(), RobertaConfig(**SHAPE)),
    "t5": (
        AutoModelForSeq2SeqLM, Seq2SeqLm(),
        T5Config(num_layers=2, d_model=32, d_kv=16, num_heads=2, d_ff=64, vocab_size=64),
    ),
    "bart": (
        AutoModelForSeq2SeqLM, Seq2SeqLm(),
        BartConfig(
            encoder_layers=2, decoder_layers=2, d_model=32, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=16, **MARKS,
        ),
    ),
    "vit": (
        AutoModelForImageClassification, ImageClassification(),
        ViTConfig(
            num_hidden_layers=2, hidden_size=32, num_attention_heads=2, intermediate_size=64, image_size=8,
            patch_size=2, num_channels=1,
        ),
    ),
}  # fmt: skip


def saved(folder, auto, config, **how):
    torch.manual_seed(0)
    model = auto.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():  # no norm is one, and no bias zero
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder, **how)
    return folder


def both_ways(folder, auto, task, *, vocab_size=64, **more):
    """A model loaded whole and in parts, what each has drawn from torch since, and the parts in their order."""
    made = []
    placed = []
    for place in (None, lambda part, *, layer: placed.append((part, layer))):
        shape = Pretrained(name_or_path=str(folder), **more.get("model", {}))
        rest = {name: value for name, value in more.items() if name not in ("model", "config")}
        training = Training(task=task, model=shape, data="run://x", optimizer=AdamW(learning_rate=0.1), **ONE, **rest)
        config = read_config(shape, **more.get("config", {}))
        one = TransformersModel(auto, config, training, DataFacts(vocab_size, 16, None), labelled="config" in more)
        torch.manual_seed(5)
        model = one.make(place)
        made.append((model, one.remarks, torch.rand(3)))
    return made, placed


def assert_same(made):
    (whole, remarks, drawn), (parts, remarks_of_parts, drawn_of_parts) = made
    expected, found = whole.state_dict(), parts.state_dict()
    assert list(expected) == list(found)
    for name, tensor in expected.items():
        assert tensor.dtype == found[name].dtype, name
        assert torch.equal(tensor, found[name]), name
    buffers = dict(parts.named_buffers())
    for name, buffer in whole.named_buffers():
        assert torch.equal(buffer, buffers[name]), name
    trained = {name for name, one in whole.named_parameters() if one.requires_grad}
    assert trained == {name for name, one in parts.named_parameters() if one.requires_grad}
    shared = {name: id(one) for name, one in parts.named_parameters(remove_duplicate=False)}
    for name, one in whole.named_parameters(remove_duplicate=False):
        for other, same in whole.named_parameters(remove_duplicate=False):
            assert (one is same) == (shared[name] == shared[other]), f"{name} and {other}: one tensor or two"
    assert remarks == remarks_of_parts
    assert torch.equal(drawn, drawn_of_parts), "another number of draws"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_in_parts_is_the_one_that_is_loaded_whole(family, tmp_path):
    auto, task, config = FAMILIES[family]
    made, placed = both_ways(saved(tmp_path, auto, config), auto, task)
    assert_same(made)
    assert sum(layer for _, layer in placed) == len([one for _, one in placed if one])
    assert sum(layer for _, layer in placed) in (2, 4), "layers are placed one by one"


def test_files_in_half_precision_and_in_pieces_are_the_same(tmp_path):
    auto, task, config = FAMILIES["llama"]
    config.dtype = torch.bfloat16
    saved(tmp_path, auto, config, max_shard_size="20KB")
    for file in tmp_path.glob("*.safetensors"):
        weights = {name: one.to(torch.bfloat16) for name, one in load_file(file).items()}
        save_file(weights, file, {"format": "pt"})
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert_same(both_ways(tmp_path, auto, task)[0])


@pytest.mark.parametrize("family", ["bert", "roberta", "llama", "gpt2"])
def test_a_new_head_begins_the_same(family, tmp_path):
    _, _, config = FAMILIES[family]
    folder = saved(tmp_path, AutoModel, config)
    made, _ = both_ways(folder, *LABELS, config={"num_labels": 3})
    assert_same(made)
    assert "has no head for this task" in made[1][1][0]
    made, _ = both_ways(folder, *LABELS, config={"num_labels": 3}, lora=Lora(rank=2))
    assert_same(made)


@pytest.mark.parametrize("family", ["llama", "llama-tied", "gpt2", "phi3", "mixtral", "opt", "gemma2"])
@pytest.mark.parametrize("modules", ["auto", "all-linear"])
def test_adapters_begin_the_same(family, modules, tmp_path):
    auto, task, config = FAMILIES[family]
    made, placed = both_ways(saved(tmp_path, auto, config), auto, task, lora=Lora(rank=2, target_modules=modules))
    assert_same(made)
    assert placed, "it was loaded whole"


def test_adapters_of_embeddings_have_the_model_loaded_whole(tmp_path):
    auto, task, config = FAMILIES["llama-tied"]
    lora = Lora(rank=2, target_modules=("q_proj", "embed_tokens"))
    made, placed = both_ways(saved(tmp_path, auto, config), auto, task, lora=lora)
    assert_same(made)
    assert [layer for _, layer in placed] == [False], "as one part"


def test_added_tokens_and_frozen_weights_are_the_same(tmp_path):
    auto, task, config = FAMILIES["llama"]
    model = {"added_tokens": ("<a>", "<b>")}
    made, _ = both_ways(saved(tmp_path, auto, config), auto, task, vocab_size=66, model=model, freeze=("*embed*",))
    assert_same(made)
    assert made[1][0].get_input_embeddings().weight.shape[0] == 66


def test_of_a_weight_that_has_two_names_the_same_one_is_taken(tmp_path):
    auto, task, config = FAMILIES["llama"]
    folder = saved(tmp_path, auto, config)
    weights = load_file(folder / "model.safetensors")
    weights["norm.weight"] = weights["model.norm.weight"] + 1
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert_same(both_ways(folder, auto, task)[0])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda all_of: all_of.pop("model.norm.weight"), "1 of the model's weights are missing in its files"),
        (lambda all_of: all_of.update(strange=torch.zeros(2)), "1 weights in its files have no place in the model"),
        (
            lambda all_of: all_of.update({"model.norm.weight": torch.zeros(5)}),
            r"model.norm.weight has the shape \[5\] in its files",
        ),
        (
            lambda all_of: all_of.update({"model.norm.weight": torch.zeros(32).to(torch.float8_e4m3fn)}),
            "has weights of type F8_E4M3",
        ),
    ],
)
def test_what_is_no_whole_model_is_refused_before_a_part_is_made(damage, says, tmp_path):
    auto, task, config = FAMILIES["llama"]
    folder = saved(tmp_path, auto, config)
    weights = load_file(folder / "model.safetensors")
    damage(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    training = Training(
        task=task,
        model=Pretrained(name_or_path=str(folder)),
        data="run://x",
        optimizer=AdamW(learning_rate=0.1),
        **ONE,
    )
    one = TransformersModel(auto, read_config(training.model), training, DataFacts(64, 16, None))
    placed = []
    with pytest.raises(PlatformError, match=says):
        one.make(lambda part, *, layer: placed.append(part))
    assert not placed
