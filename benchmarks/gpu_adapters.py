"""LoRA and QLoRA of a 7 B shape on one GPU beside the script that people write with transformers, peft, bitsandbytes.

The model is made here, of random numbers in bf16, and lies in a folder as a model of others would.
"""

import argparse
import importlib.util
import json
import statistics
from pathlib import Path

import torch
from gpu_parts import GIB, Decoder, Measured, Size, Tokens, free, name_of, plain_step, planned, platform, steps_of
from results import write_result
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.weights import TransformersModel
from trainshed.spec.training.train import Training

SIZES = (
    Size(36 * GIB, 32, 32, 4096, 11_008, 32_000, 1024),
    Size(12 * GIB, 22, 16, 2048, 5632, 32_000, 1024),
    Size(0, 2, 2, 64, 192, 256, 64),
)
BATCH = 4
RANK, ALPHA = 16, 32
PAIRS = 2
"""Each loads the model twice."""
NEEDS = {"none": ("peft",), "nf4": ("peft", "bitsandbytes")}
FIGURES = {"none": ("G3", "LoRA"), "nf4": ("G4", "QLoRA")}


class Tuned(Decoder):
    """The task of side A: an existing model with adapters, as every task of transformers makes it."""

    def __init__(self, training: Training, size: Size) -> None:
        super().__init__(size.config(), checkpointing=True)
        facts = DataFacts(size.vocab, size.length, None)
        self._model = TransformersModel(AutoModelForCausalLM, self.config, training, facts)

    def make_model(self) -> torch.nn.Module:
        return self._model.make()

    def make_in_parts(self, place, dtype: torch.dtype) -> torch.nn.Module:
        return self._model.make(place, dtype)


def write_model(folder: Path, size: Size, device: torch.device) -> None:
    """Random weights in bf16, and a tokenizer of words t0, t1, ...; t1 ends a text."""
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            model = LlamaForCausalLM(size.config())
    finally:
        torch.set_default_dtype(default)
    model.save_pretrained(folder, max_shard_size="4GB")
    words = Tokenizer(models.WordLevel({f"t{number}": number for number in range(64)}, unk_token="t0"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="t1", unk_token="t0").save_pretrained(folder)
    del model
    free(device)


def tune(folder: Path, size: Size, device: torch.device, options: argparse.Namespace) -> None:
    """Pairs of ours and the bare script's, whole base and 4 bits; writes G3 and G4 with their memory, and G5."""
    samples = Tokens(64, size.length, size.vocab)
    for quantize_base, (figure, name) in FIGURES.items():
        lacking = [one for one in NEEDS[quantize_base] if importlib.util.find_spec(one) is None]
        if lacking:
            print(f"{name}: left out, {', '.join(lacking)} is not installed", flush=True)
            continue
        training = settings(folder, quantize_base, device, options)
        pairs = []
        for number in range(min(PAIRS, options.pairs)):
            ours = platform(training, Tuned(training, size), samples, device)
            pairs.append((ours, bare(training, folder, samples, device)))
            tokens = BATCH * size.length
            print(
                f"{name}, pair {number}: "
                + " | ".join(f"{tokens / one.step_s:9,.0f} tokens/s, {one.peak / GIB:.2f} GiB" for one in pairs[-1]),
                flush=True,
            )
        report(figure, name, pairs, planned(training, samples, size.vocab, checkpointing=True), size, device, options)


def settings(folder: Path, quantize_base: str, device: torch.device, options: argparse.Namespace) -> Training:
    """The job of side A. On a CPU it is put together past the check that refuses 4 bits there."""
    job = {
        "model": {"kind": "pretrained", "name_or_path": str(folder)}, "data": "run://none", "precision": "bf16",
        "lora": {"rank": RANK, "alpha": ALPHA, "target_modules": "all-linear", "quantize_base": quantize_base},
        "engine": {"kind": "ddp", "activation_checkpointing": True}, "steps": options.steps, "self_test": False,
        "optimizer": {"kind": "adamw", "learning_rate": 1e-4, "weight_decay": 0.0}, "global_batch_size": BATCH,
        "workers": {"count": 1, "gpus": 1.0, "per_device_batch_size": BATCH},
        "validation": {"every_steps": 10**6, "max_samples": 1},
    }  # fmt: skip
    made = Training.model_validate_json(json.dumps(job), strict=True)
    workers = made.workers.model_copy(update={"gpus": float(device.type == "cuda")})
    return made.model_copy(update={"workers": workers})


def bare(training: Training, folder: Path, samples: Tokens, device: torch.device) -> Measured:
    """The script that people write."""
    from peft import LoraConfig, get_peft_model

    free(device)
    torch.manual_seed(training.seed)
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    more = {"quantization_config": four_bits} if training.lora.quantize_base == "nf4" else {}
    where = str(device) if device.type == "cpu" else device.index or 0
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, device_map={"": where}, **more)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear"))
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=training.optimizer.learning_rate, weight_decay=0.0)
    model.train()

    step = plain_step(model, trained, optimizer, device, training.regularization.max_grad_norm)
    return steps_of(training, samples, device, step)


def report(figure: str, name: str, pairs, counted: int, size: Size, device, options) -> None:
    """Prints the ratios; keeps them where there is a GPU."""
    ratios = [b.step_s / a.step_s for a, b in pairs]
    print(f"{name}, platform / bare: {statistics.median(ratios):.4f}", flush=True)
    if device.type != "cuda":
        return
    command = f"python benchmarks/gpu.py --parts adapters --steps {options.steps}"
    what = f"{name} of a Llama of {size.layers} x {size.width}, {BATCH} x {size.length} tokens, {name_of(device)}"
    memory = [b.peak / a.peak for a, b in pairs]
    shares = [counted / a.peak for a, _ in pairs]
    write_result(figure, f"{what}: tokens/s / bare peft", ">= 0.98", ratios, command=command, pairs=[])
    write_result(f"{figure}-memory", f"{what}: peak of bare peft / ours", ">= 0.98", memory, command=command, pairs=[])
    write_result(f"{figure}-plan", f"{what}: plan / peak", "0.9 to 1.1", shares, command=command, pairs=[])
