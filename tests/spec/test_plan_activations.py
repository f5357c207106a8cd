"""Activations by arithmetic are those that autograd keeps of the models that transformers builds."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from trainshed.runtime.encoding import SpecialIds
from trainshed.runtime.tasks.configuration import configuration
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.spec.models import T5, Bart, Bert, Gpt2, Llama, Qwen3
from trainshed.spec.plan.layers import layer_bytes, layers_of

TOKENS, SAMPLES, VOCAB = 64, 2, 48
SHAPES = {
    "gpt2": lambda layers: Gpt2(layers=layers, heads=4, width=128),
    "gpt2 with dropout": lambda layers: Gpt2(layers=layers, heads=4, width=128, dropout=0.1),
    "llama": lambda layers: Llama(layers=layers, heads=4, width=128),
    "llama with shared keys": lambda layers: Llama(layers=layers, heads=4, width=128, kv_heads=1),
    "qwen3": lambda layers: Qwen3(layers=layers, heads=4, width=128),
    "qwen3 with its own head size": lambda layers: Qwen3(layers=layers, heads=4, width=128, kv_heads=2, head_dim=64),
    "bert": lambda layers: Bert(layers=layers, heads=4, width=128, dropout=0.1),
    "t5": lambda layers: T5(layers=layers, heads=4, width=128),
    "bart": lambda layers: Bart(layers=layers, heads=4, width=128),
}
CLASSES = {"bert": AutoModelForSequenceClassification, "t5": AutoModelForSeq2SeqLM, "bart": AutoModelForSeq2SeqLM}


class Facts(DataFacts):
    """Sizes without a tokenizer on the disk."""

    special = SpecialIds(eos=0, bos=0, pad=1, mask=None, cls=None, all=frozenset((0, 1)))


def build(shape):
    facts = Facts(VOCAB, TOKENS, None, max_target_tokens=TOKENS, labels=("no", "yes") if shape.kind == "bert" else ())
    config = configuration(shape, facts, problem="single_label" if shape.kind == "bert" else None)
    attention = {} if shape.kind == "t5" else {"attn_implementation": "sdpa"}
    return CLASSES.get(shape.kind, AutoModelForCausalLM).from_config(config, **attention)


def kept_by_autograd(shape, dtype):
    """Bytes of tensors that the backward pass needs, each storage once, parameters and buffers left out."""
    model = build(shape).to(dtype)
    own = {one.untyped_storage().data_ptr() for one in [*model.parameters(), *model.buffers()]}
    kept, alive = {}, []

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        tokens = torch.randint(2, VOCAB, (SAMPLES, TOKENS))
        answers = {"labels": tokens} if shape.kind in ("t5", "bart") else {}
        model(input_ids=tokens, **answers).logits.sum()
    return sum(kept.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_layer_keeps_what_the_plan_says(shape, dtype):
    make = SHAPES[shape]
    measured = (kept_by_autograd(make(3), dtype) - kept_by_autograd(make(1), dtype)) / 2 / SAMPLES
    planned = sum(layer_bytes(one, TOKENS, width=dtype.itemsize, gpu=False) for one in layers_of(make(1)))
    assert planned == pytest.approx(measured, rel=0.05)
