"""How weights are grouped: decay, learning rates by layer, on the model families that are trained."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    LlamaConfig,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

from tiny_model import make_model
from trainshed.runtime.tasks.weight_roles import weight_roles
from trainshed.runtime.training.optim.parameter_groups import parameter_groups

SMALL = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}


class Lstm(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(10, 4)
        self.lstm = torch.nn.LSTM(4, 4, num_layers=2, bidirectional=True)
        self.classify = torch.nn.Linear(8, 2)


MODELS = {
    "gpt2": lambda: AutoModelForCausalLM.from_config(GPT2Config(vocab_size=20, n_layer=3, n_head=2, n_embd=8)),
    "llama": lambda: AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=20, tie_word_embeddings=False, **SMALL)),
    "bert": lambda: BertForSequenceClassification(BertConfig(vocab_size=20, **SMALL)),
    "vit": lambda: ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, **SMALL)),
    "t5": lambda: T5ForConditionalGeneration(
        T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=16, num_layers=3, num_heads=2, num_decoder_layers=2)
    ),
    "lstm": Lstm,
}
BELOW_HEAD = {
    "gpt2": {
        "transformer.wte.weight": 4,
        "transformer.wpe.weight": 4,
        "transformer.h.0.attn.c_attn.weight": 3,
        "transformer.h.2.mlp.c_fc.bias": 1,
        "transformer.ln_f.weight": 0,
    },
    "llama": {"model.embed_tokens.weight": 4, "model.layers.0.mlp.up_proj.weight": 3, "lm_head.weight": 0},
    "bert": {
        "bert.embeddings.LayerNorm.weight": 4,
        "bert.encoder.layer.1.output.dense.weight": 2,
        "bert.pooler.dense.weight": 0,
        "classifier.bias": 0,
    },
    "vit": {"vit.embeddings.cls_token": 4, "classifier.weight": 0},
    "t5": {
        "shared.weight": 4,
        "encoder.block.0.layer.1.layer_norm.weight": 3,
        "decoder.block.0.layer.0.SelfAttention.q.weight": 2,
    },
    "lstm": {
        "embedding.weight": 3,
        "lstm.weight_ih_l0": 2,
        "lstm.weight_hh_l1": 1,
        "lstm.bias_hh_l1_reverse": 1,
        "classify.weight": 0,
    },
}


@pytest.mark.parametrize("family", MODELS)
def test_a_weight_is_placed_by_the_layers_between_it_and_the_head(family):
    places = weight_roles(MODELS[family]())
    assert {name: places[name].below_head for name in BELOW_HEAD[family]} == BELOW_HEAD[family]


@pytest.mark.parametrize("family", MODELS)
def test_every_trained_weight_is_in_one_group_and_vectors_are_not_decayed(family):
    model = MODELS[family]()
    next(model.parameters()).requires_grad_(False)
    groups = parameter_groups(model, weight_decay=0.1, layer_decay=0.5, split_layer_matrices=True)
    grouped = [parameter for group in groups for parameter in group["params"]]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert sorted(map(id, grouped)) == sorted(map(id, trained))
    for group in groups:
        decayed = {parameter.ndim >= 2 for parameter in group["params"]}
        assert decayed == {group["penalised"]} == {group["weight_decay"] == 0.1}


def test_each_layer_has_its_part_of_the_rate_of_the_layer_above():
    model = make_model()
    groups = parameter_groups(model, weight_decay=0.0, layer_decay=0.5)
    scale = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    assert scale[id(model.head.weight)] == scale[id(model.head.bias)] == 1.0
    assert scale[id(model.layers[1][0].weight)] == 0.5
    assert scale[id(model.layers[0][0].bias)] == 0.25
    assert scale[id(model.embed.weight)] == 0.125


def test_without_layer_decay_there_are_two_groups():
    groups = parameter_groups(make_model(), weight_decay=0.1, layer_decay=1.0)
    assert [(group["weight_decay"], group["lr_scale"]) for group in groups] == [(0.0, 1.0), (0.1, 1.0)]


def test_layer_matrices_are_neither_embeddings_nor_the_head_nor_vectors():
    places = weight_roles(MODELS["t5"]())
    matrices = {name for name, place in places.items() if place.layer_matrix}
    assert "encoder.block.0.layer.0.SelfAttention.q.weight" in matrices
    assert not {name for name in matrices if "relative_attention_bias" in name or "norm" in name}
    assert "shared.weight" not in matrices
