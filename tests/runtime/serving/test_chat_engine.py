"""A chat model is asked in its own template's words, and its answer is what `generate` makes of the same tokens."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from chat_shapes import SHAPES
from trainshed.runtime.encoding import ConversationEncoder
from trainshed.runtime.serving.engines import EngineSettings, Sampling, build_engine
from trainshed.runtime.tasks.weights import name_ends

MOST = 40
QUESTIONS = 25


@pytest.fixture(params=["llama 3", "gemma"])
def chat_model(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Any]:
    """A model of random weights, of which many an answer ends early."""
    tokenizer = SHAPES[request.param].tokenizer()
    tokenizer.save_pretrained(str(tmp_path))
    torch.manual_seed(3)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        initializer_range=0.6,
        **sizes,
    )
    model = LlamaForCausalLM(config)
    encoder = ConversationEncoder.read(tmp_path, obey=False)
    assert encoder is not None
    with torch.no_grad():
        model.lm_head.weight[encoder.end_of_turn] *= 3  # it speaks short
    model.save_pretrained(tmp_path)
    name_ends(tmp_path)
    return tmp_path, tokenizer


def test_answers_are_those_of_generate_with_the_template_and_stop_at_the_end_of_a_turn(
    chat_model: tuple[Path, Any],
) -> None:
    folder, tokenizer = chat_model
    engine = build_engine(folder, EngineSettings())
    reference = AutoModelForCausalLM.from_pretrained(folder).eval()
    rng = random.Random(5)
    stopped = 0
    try:
        for _ in range(QUESTIONS):
            said = ["You", "are", "short.", "Say", "a", "number", "7", "\n"]
            texts = [" ".join(rng.choice(said) for _ in range(rng.randint(1, 9))) + "." for _ in range(3)]
            turns = [{"role": ("user", "assistant")[number % 2], "content": one} for number, one in enumerate(texts)]
            prompt = engine.encode_chat(turns)
            asked = list(tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False))
            assert prompt == asked
            ids = torch.tensor([asked])
            made = reference.generate(ids, max_new_tokens=MOST, do_sample=False, attention_mask=torch.ones_like(ids))
            tokens = asyncio.run(answer(engine, prompt))
            assert tokens == made[0, len(asked) :].tolist()
            stopped += len(tokens) < MOST
    finally:
        engine.stop()
    assert stopped, "no answer ended: the test shows nothing of end tokens"


async def answer(engine: Any, prompt: list[int]) -> list[int]:
    steps = engine.generate(prompt, Sampling(max_tokens=MOST, temperature=0))
    return [token async for step in steps for token in step.tokens]
