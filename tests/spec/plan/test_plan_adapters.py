"""What the plan counts of low-rank adapters is what peft makes of the models that transformers builds."""

import dataclasses

import pytest
import torch
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as PEFT
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    GemmaConfig,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    Phi3Config,
    Qwen3Config,
    Qwen3MoeConfig,
    RobertaConfig,
)

from trainshed.runtime.encoding import SpecialIds
from trainshed.runtime.tasks.adapting import add_adapters
from trainshed.runtime.tasks.configuration import configuration
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.spec.plan.adapters import AUTO
from trainshed.spec.plan.model import cost_of
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.models import T5, Bart, Bert, DataSizes, Gpt2, Llama, Pretrained, Qwen2, Qwen3, Vit
from trainshed.spec.training.optimizers import AdamW
from trainshed.spec.training.tasks import CausalLm, ImageClassification, MaskedLm, Seq2SeqLm, TextClassification
from trainshed.spec.training.train import Training

TEXT = DataSizes(vocab_size=60, context=16)
LABELLED = DataSizes(vocab_size=60, context=16, labels=3, image=(8, 1))
LABELS = ("no", "yes", "perhaps")
SHAPE = {"layers": 2, "heads": 4, "width": 64}
AUTOS = {
    "causal_lm": AutoModelForCausalLM,
    "masked_lm": AutoModelForMaskedLM,
    "seq2seq_lm": AutoModelForSeq2SeqLM,
    "text_classification": AutoModelForSequenceClassification,
    "image_classification": AutoModelForImageClassification,
}
CASES = [
    (CausalLm(), Gpt2(**SHAPE), TEXT, ("c_attn", "mlp.c_proj")),
    (CausalLm(), Llama(**SHAPE, kv_heads=2), TEXT, ("q_proj", "down_proj")),
    (CausalLm(), Qwen2(**SHAPE, kv_heads=1, tie_embeddings=False), TEXT, ("k_proj", "o_proj")),
    (CausalLm(), Qwen3(**SHAPE, kv_heads=2, head_dim=32), TEXT, ("q_proj", "o_proj", "gate_proj")),
    (MaskedLm(), Bert(**SHAPE), TEXT, ("query", "attention.output.dense")),
    (TextClassification(), Bert(**SHAPE, feed_forward=96), LABELLED, ("query", "output.dense")),
    (Seq2SeqLm(), T5(**SHAPE, decoder_layers=1), TEXT, ("q", "wo")),
    (Seq2SeqLm(), Bart(**SHAPE, decoder_layers=3), TEXT, ("q_proj", "fc1")),
    (ImageClassification(), Vit(**SHAPE, patch=2), LABELLED, ("q_proj", "fc2")),
]


class Facts(DataFacts):
    """Sizes without a tokenizer on the disk."""

    special = SpecialIds(eos=0, bos=0, pad=1, mask=2, cls=None, all=frozenset((0, 1, 2)))


def training(task, model, lora):
    rate = AdamW(learning_rate=0.001)
    return Training(task=task, model=model, data="run://a", optimizer=rate, lora=lora, global_batch_size=8, steps=1)


def made_by_peft(auto, config, lora):
    with torch.device("meta"):
        model = add_adapters(auto.from_config(config), lora)
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(count for count, _ in counts), sum(count for count, trained in counts if trained)


@pytest.mark.parametrize("target", ["auto", "all-linear", "names"])
@pytest.mark.parametrize(("task", "model", "sizes", "names"), CASES, ids=lambda case: getattr(case, "kind", ""))
def test_the_count_of_adapters_is_exact(task, model, sizes, names, target):
    lora = Lora(rank=6, target_modules=names if target == "names" else target)
    facts = Facts(60, 16, None, max_target_tokens=8, labels=LABELS if sizes.labels else (), image=sizes.image)
    config = configuration(model, facts, problem="single_label" if sizes.labels else None)
    cost = cost_of(training(task, model, lora), sizes)
    assert (cost.parameters, cost.trainable) == made_by_peft(AUTOS[task.kind], config, lora)


FOLDERS = {
    "mistral": (CausalLm(), MistralConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96,
        vocab_size=60, head_dim=32, sliding_window=None)),
    "opt": (CausalLm(), OPTConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, ffn_dim=96, vocab_size=60, word_embed_proj_dim=64,
        max_position_embeddings=16)),
    "qwen3": (CausalLm(), Qwen3Config(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96,
        vocab_size=60, head_dim=32, tie_word_embeddings=True)),
    "gemma": (CausalLm(), GemmaConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=1, intermediate_size=96,
        vocab_size=60, head_dim=32, pad_token_id=0)),
    "phi3": (CausalLm(), Phi3Config(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96,
        vocab_size=60, pad_token_id=0, bos_token_id=1, eos_token_id=2)),
    "mixtral": (CausalLm(), MixtralConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96,
        vocab_size=60, num_local_experts=4, num_experts_per_tok=2)),
    "qwen3_moe": (CausalLm(), Qwen3MoeConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96,
        moe_intermediate_size=32, vocab_size=60, head_dim=32, num_experts=4, num_experts_per_tok=2)),
    "roberta": (TextClassification(), RobertaConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, vocab_size=60, num_labels=3)),
}  # fmt: skip


@pytest.mark.parametrize("target", ["auto", "all-linear", ("q_proj", "query")])
@pytest.mark.parametrize("name", FOLDERS)
def test_the_count_of_adapters_is_that_of_a_folders_layers(name, target, tmp_path):
    task, config = FOLDERS[name]
    if name == "phi3" and target != "auto" and target != "all-linear":
        target = ("qkv_proj",)
    AUTOS[task.kind].from_config(config).save_pretrained(tmp_path)
    lora = Lora(rank=6, target_modules=target)
    sizes = LABELLED if task.kind == "text_classification" else TEXT
    cost = cost_of(training(task, Pretrained(name_or_path=str(tmp_path)), lora), sizes)
    total, trained = made_by_peft(AUTOS[task.kind], config, lora)
    if name == "roberta":  # its head has a layer of its own, which is trained whole too
        trained -= 64 * 64 + 64
        total -= 64 * 64 + 64
    assert (cost.parameters, cost.trainable) == (total, trained)


def test_auto_is_what_peft_adapts():
    plain = {kind: tuple(names) for kind, names in PEFT.items() if isinstance(names, list)}
    assert {kind: plain[kind] for kind in AUTO} == AUTO


def test_a_model_of_unknown_layers_is_guessed_within_a_factor_of_two():
    shape = Llama(layers=32, heads=32, width=4096, feed_forward=11_008, tie_embeddings=False)
    known = dataclasses.replace(TEXT, vocab_size=32_000)
    lora = Lora(rank=16, target_modules="all-linear")
    exact = cost_of(training(CausalLm(), shape, lora), known).trainable
    guess = cost_of(training(CausalLm(), Pretrained(name_or_path="org/m", num_parameters=6_738_415_616), lora), known)
    assert 0.5 < guess.trainable / exact < 2
