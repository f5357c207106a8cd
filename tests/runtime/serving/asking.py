"""Asking an engine, alone or together, and what transformers itself generates."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from trainshed.runtime.serving.engines import Finish, Sampling, TextEngine

Answer = tuple[list[int], Finish | None]
WAIT_S = 120


async def collect(engine: TextEngine, prompt: list[int], sampling: Sampling, *, whole: bool = False) -> Answer:
    tokens: list[int] = []
    finish = None
    async for step in engine.generate(prompt, sampling, whole=whole):
        tokens += step.tokens
        finish = step.finish
    return tokens, finish


def together(engine: TextEngine, asks: list[tuple[list[int], Sampling]], *, whole: bool = False) -> list[Answer]:
    async def all_at_once() -> list[Answer]:
        return await asyncio.wait_for(asyncio.gather(*(collect(engine, *ask, whole=whole) for ask in asks)), WAIT_S)

    return asyncio.run(all_at_once())


async def until_idle(engine: TextEngine) -> None:
    async with asyncio.timeout(WAIT_S):
        while engine.running_requests:
            await asyncio.sleep(0.01)


def greedy(max_tokens: int) -> Sampling:
    return Sampling(max_tokens=max_tokens, temperature=0)


def prompts_of(lengths: list[tuple[int, int]]) -> list[tuple[list[int], Sampling]]:
    source = random.Random(5)
    return [([source.randrange(1, 320) for _ in range(length)], greedy(tokens)) for length, tokens in lengths]


def generated(model_dir: Path, asks: list[tuple[list[int], Sampling]]) -> list[list[int]]:
    """What transformers generates for each prompt alone."""
    model = AutoModelForCausalLM.from_pretrained(model_dir)
    answers = []
    for prompt, sampling in asks:
        whole = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=sampling.max_tokens)
        answers.append(whole[0, len(prompt) :].tolist())
    return answers
