"""Parameter counts by arithmetic are those of the models that transformers builds."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from trainshed.runtime.tasks.causal_lm import model_config
from trainshed.spec.models import Gpt2, Llama

SHAPES = [
    Gpt2(layers=2, heads=2, width=32),
    Gpt2(layers=3, heads=4, width=64, context=512),
    Llama(layers=2, heads=4, width=64),
    Llama(layers=2, heads=4, width=64, kv_heads=2, feed_forward=96, tie_embeddings=False),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.kind}-{shape.width}")
def test_the_count_is_exact(shape):
    vocab_size, context = 300, shape.context or 128
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(model_config(shape, vocab_size, context, end_of_text=0))
    assert shape.parameters(vocab_size, context) == sum(p.numel() for p in model.parameters())
