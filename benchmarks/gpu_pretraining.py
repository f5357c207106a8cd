"""Pre-training on one GPU: MFU, the platform's loop against a plain torch loop, and the plan against the peak."""

import argparse
import json
import statistics

import torch
from gpu_parts import (
    GIB,
    Decoder,
    Measured,
    Size,
    Tokens,
    free,
    memory_of,
    name_of,
    on_meta,
    plain_step,
    planned,
    platform,
    size_for,
    steps_of,
)
from results import write_result

from trainshed.runtime.training.loop.utilisation import peak_of, step_flops
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.spec.training.train import Training

USABLE = 0.9
SIZES = (
    Size(120 * GIB, 32, 20, 2560, 6912, 32_000, 2048),
    Size(60 * GIB, 22, 16, 2048, 5632, 32_000, 2048),
    Size(20 * GIB, 24, 8, 1024, 2816, 32_000, 2048),
    Size(0, 2, 2, 64, 192, 256, 64),
)


def pretrain(device: torch.device, options: argparse.Namespace) -> None:
    """Pairs of our loop and a plain one, A B A B; writes G1 and G2, and G5 of the plan."""
    training, task, samples, size = setting(device, options)
    count = sum(weight.numel() for weight in on_meta(task).parameters())
    again = "on" if task.checkpointing else "off"
    print(
        f"pre-training: {count / 1e9:.3f} B parameters, {training.workers.per_device} x {size.length} tokens a step, "
        f"activation checkpointing {again}, {options.engine}",
        flush=True,
    )
    pairs = []
    for number in range(options.pairs):
        pairs.append((platform(training, task, samples, device), bare(training, task, samples, device)))
        a, b = pairs[-1]
        tokens = training.global_batch_size * size.length
        print(f"pair {number}: {tokens / a.step_s:10,.0f} | {tokens / b.step_s:10,.0f} tokens/s", flush=True)
    report(pairs, count, training, samples, size, task, device, options)


def setting(device: torch.device, options: argparse.Namespace) -> tuple[Training, Decoder, Tokens, Size]:
    """The largest model of the table for this memory, and the largest batch, as the plan counts them."""
    memory = memory_of(device)
    size = size_for(device, SIZES, tiny=options.tiny)
    shape = {
        "kind": "llama",
        "layers": size.layers,
        "heads": size.heads,
        "width": size.width,
        "feed_forward": size.inner,
        "tie_embeddings": False,
    }
    engine = {"kind": "ddp"} if options.engine == "ddp" else {"kind": "deepspeed", "zero_stage": 1}

    def made(batch: int) -> Training:
        job = {
            "model": shape, "data": "run://none", "precision": "bf16", "steps": options.steps, "self_test": False,
            "optimizer": {"kind": "adamw", "learning_rate": 1e-4}, "global_batch_size": batch,
            "engine": {**engine, "compile": options.compile},
            "workers": {"count": 1, "gpus": float(device.type == "cuda"), "per_device_batch_size": batch},
            "validation": {"every_steps": 10**6, "max_samples": 1},
        }  # fmt: skip
        return Training.model_validate_json(json.dumps(job), strict=True)

    samples = Tokens(64, size.length, size.vocab)

    def fits(batch: int, checkpointing: bool) -> bool:
        return planned(made(batch), samples, size.vocab, checkpointing=checkpointing) <= USABLE * memory

    choices = [(batch, again) for again in (False, True) for batch in (16, 8, 4, 2)]
    batch, again = next((one for one in choices if memory and fits(*one)), (2, options.tiny))
    return made(batch), Decoder(size.config(options.attention), checkpointing=again), samples, size


def bare(training: Training, task: Decoder, samples: Tokens, device: torch.device) -> Measured:
    """Plain torch, in twenty lines."""
    free(device)
    torch.manual_seed(training.seed)
    model = task.make_model().to(device)
    optimizer = build_optimizer(training.optimizer, model)
    if training.engine.compile:
        model.compile()

    step = plain_step(model, [*model.parameters()], optimizer, device, training.regularization.max_grad_norm)
    return steps_of(training, samples, device, step)


def report(pairs, count, training, samples, size, task, device, options) -> None:
    """Prints the figures; keeps them where the device's peak is known."""
    flops = step_flops(training.model, count, samples=training.global_batch_size, time=size.length)
    ratios = [b.step_s / a.step_s for a, b in pairs]
    print(f"platform / bare: {statistics.median(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f})")
    name, peak = name_of(device), peak_of(device, "bf16")
    if peak is None:
        print(f"MFU: the peak of {name} is not known; {flops / pairs[0][0].step_s / 1e12:.4f} TFLOP/s")
        return
    mfu = [flops / a.step_s / peak for a, _ in pairs]
    command = f"python benchmarks/gpu.py --parts pretrain --pairs {options.pairs} --steps {options.steps}"
    command += f" --engine {options.engine}" + (" --compile" if options.compile else "")
    what = f"{count / 1e9:.2f} B Llama, bf16, sequence {size.length}, {options.engine}, {name}"
    write_result("G1", f"MFU of {what}", ">= 0.45", mfu, command=command, pairs=[])
    write_result("G2", f"tokens/s platform / bare torch, {what}", ">= 0.99", ratios, command=command, pairs=[])
    counted = planned(training, samples, size.vocab, checkpointing=task.checkpointing)
    shares = [counted / a.peak for a, _ in pairs]
    write_result("G5", f"plan / measured peak of {what}", "0.9 to 1.1", shares, command=command, pairs=[])
