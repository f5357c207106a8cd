"""Decoding on one GPU: the serving engine's continuous batches beside bare `generate` of the same prompts."""

import argparse
import queue
import statistics
import time
from pathlib import Path

import torch
from gpu_parts import Size, Tokens, free, name_of
from results import write_result
from transformers import AutoModelForCausalLM

from trainshed.runtime.generation.rules import Sampling
from trainshed.runtime.serving.engines.batching import BatchedModel
from trainshed.runtime.serving.engines.engine import EngineSettings
from trainshed.runtime.serving.engines.messages import Failed, Outputs, Request

CLIENTS, PROMPT, ANSWER = 16, 128, 128


def decode(folder: Path, size: Size, device: torch.device, options: argparse.Namespace) -> None:
    """Tokens/s of 16 requests at once, A B A B; writes G6."""
    prompt, answer = (min(length, size.length // 2) for length in (PROMPT, ANSWER))
    prompts = Tokens(CLIENTS, prompt, min(64, size.vocab)).blocks
    said: queue.SimpleQueue = queue.SimpleQueue()
    room = 2 * CLIENTS * (prompt + answer)
    gpu = device.type == "cuda"
    engine = BatchedModel(folder, EngineSettings(cache_tokens=room, max_requests=CLIENTS, gpu=gpu), said.put)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if gpu else torch.float32)
    model = model.to(device).eval()
    numbers = iter(range(10**6))
    pairs = []
    for number in range(1 + max(2, options.pairs)):  # the first is the warm-up
        pair = (ours(engine, said, prompts, answer, numbers), bare(model, prompts, answer, device))
        if number:
            pairs.append(pair)
            print(f"decoding, pair {number - 1}: {pair[0]:9,.0f} | {pair[1]:9,.0f} tokens/s", flush=True)
    del model
    free(device)
    ratios = [a / b for a, b in pairs]
    print(f"decoding, engine / generate: {statistics.median(ratios):.4f}", flush=True)
    if gpu:
        what = f"decoding {CLIENTS} x {answer} tokens, Llama of {size.layers} x {size.width}, {name_of(device)}"
        command = "python benchmarks/gpu.py --parts decode"
        write_result("G6", f"{what}: tokens/s / generate", ">= 0.95", ratios, command=command, pairs=[])


def ours(engine: BatchedModel, said: queue.SimpleQueue, prompts, answer: int, numbers) -> float:
    """Tokens/s from the first request to the last answer."""
    began = time.perf_counter()
    for prompt in prompts:
        asked = Sampling(max_tokens=answer, temperature=0.0)
        engine.add(Request(next(numbers), tuple(map(int, prompt)), asked, whole=True))
    count = done = 0
    while done < len(prompts):
        match said.get(timeout=300):
            case Outputs(outputs):
                done += len(outputs)
                count += sum(len(one.step.tokens) for one in outputs)
            case Failed() as failed:
                raise SystemExit(f"the engine failed: {failed}")
            case _:
                pass
    return count / (time.perf_counter() - began)


@torch.inference_mode()
def bare(model: torch.nn.Module, prompts, answer: int, device: torch.device) -> float:
    """Tokens/s of one `generate` over the batch."""
    began = time.perf_counter()
    tokens = torch.from_numpy(prompts).to(device)
    whole = model.generate(
        input_ids=tokens,
        attention_mask=torch.ones_like(tokens),
        max_new_tokens=answer,
        do_sample=False,
        use_cache=True,
        pad_token_id=1,
    )
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return whole[:, tokens.shape[1] :].numel() / (time.perf_counter() - began)
