"""Activations by arithmetic are those that autograd keeps of the models that transformers builds."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from trainshed.runtime.tasks.causal_lm import model_config
from trainshed.spec.models import Gpt2, Llama
from trainshed.spec.plan.model import layer_bytes, layers_of

TOKENS, SAMPLES, VOCAB = 64, 2, 48
SHAPES = {
    "gpt2": lambda layers: Gpt2(layers=layers, heads=4, width=128),
    "gpt2 with dropout": lambda layers: Gpt2(layers=layers, heads=4, width=128, dropout=0.1),
    "llama": lambda layers: Llama(layers=layers, heads=4, width=128),
    "llama with shared keys": lambda layers: Llama(layers=layers, heads=4, width=128, kv_heads=1),
}


def kept_by_autograd(shape, dtype):
    """Bytes of tensors that the backward pass needs, each storage once, parameters and buffers left out."""
    config = model_config(shape, VOCAB, TOKENS, end_of_text=0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(dtype)
    own = {one.untyped_storage().data_ptr() for one in [*model.parameters(), *model.buffers()]}
    kept, alive = {}, []

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(input_ids=torch.randint(0, VOCAB, (SAMPLES, TOKENS))).logits.sum()
    return sum(kept.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_layer_keeps_what_the_plan_says(shape, dtype):
    make = SHAPES[shape]
    measured = (kept_by_autograd(make(3), dtype) - kept_by_autograd(make(1), dtype)) / 2 / SAMPLES
    planned = layer_bytes(layers_of(make(1))[0], TOKENS, width=dtype.itemsize, gpu=False)
    assert planned == pytest.approx(measured, rel=0.05)
