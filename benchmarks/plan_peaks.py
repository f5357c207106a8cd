"""F6: what the plan says of a pass and of loading, over the peak that is measured.

    .venv/bin/python benchmarks/plan_peaks.py

A pass: forward and backward of eight families (Llama, Qwen3 with its own head size, Gemma, Phi, GPT-2, OPT, Mixtral,
Qwen3-MoE), fp32 and bf16, a small and a large vocabulary, Llama with activations computed again, and with logits in
chunks: the most bytes of tensors alive beside weights and gradients. Loading: `loading.py`'s 200 million weights under
ZeRO-3 and fsdp on two workers: resident memory. States are T5's. Writes F6.json.
"""

import itertools
import json
import sys
import tempfile
from pathlib import Path

import loading
import torch
from results import write_result
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from forking import run_workers
from spec.plan.test_plan_peak import SAMPLES, SHAPES, TOKENS, peak_of_a_pass
from trainshed.spec.plan.described import described_layers, described_vocabulary
from trainshed.spec.plan.model import ModelCost, activation_bytes
from trainshed.spec.plan.states import loading as planned_loading
from trainshed.spec.training.engines import DeepSpeed, Fsdp

WORKERS, LAYERS = 2, 14


def main() -> None:
    rows = [
        (f"{name}, {vocabulary} tokens, {dtype}", of_pass(name, vocabulary, dtype))
        for name, vocabulary, dtype in itertools.product(SHAPES, (500, 8_000), (torch.float32, torch.bfloat16))
    ]
    rows.append(("llama, activations again", of_pass("llama", 8_000, torch.float32, checkpointing=True)))
    rows += of_loading()
    for name, ratio in rows:
        print(f"{name}: {ratio:.3f}")
    what = "plan / measured peak: passes of 8 families, loading under ZeRO-3 and fsdp"
    found = [ratio for _, ratio in rows]
    write_result("F6", what, "0.9 to 1.1", found, command="python benchmarks/plan_peaks.py", pairs=[], rows=rows)


def of_pass(name: str, vocabulary: int, dtype: torch.dtype, *, checkpointing: bool = False) -> float:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(SHAPES[name](vocabulary)).to(dtype).train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    said = model.config.to_dict()
    cost = ModelCost(1, 1, TOKENS, described_vocabulary(said), described_layers(said))
    planned = activation_bytes(cost, SAMPLES, width=dtype.itemsize, checkpointing=checkpointing, gpu=False)
    return planned / peak_of_a_pass(model)


def of_loading() -> list[tuple[str, float]]:
    """The worst of the workers, for each engine and precision."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        loading.write_model(Path(place) / "small", 1, tokens=64, width=32)
        model = loading.write_model(Path(place) / "model", LAYERS)
        for engine, precision in itertools.product((DeepSpeed(zero_stage=3), Fsdp()), ("fp32", "bf16")):
            folder = Path(place) / f"{engine.layout}-{precision}"
            folder.mkdir()
            asked = folder, model, engine.model_dump_json(), precision, folder / "rendezvous"
            run_workers(loading.load, WORKERS, *asked, logs=folder)
            peak = max(json.loads(one.read_text())["peak"] for one in folder.glob("*.json"))
            training = loading.training_of(model, engine, precision, WORKERS)
            said = json.loads((Path(model) / "config.json").read_text())
            count = sum(one.numel() for one in AutoModelForCausalLM.from_pretrained(model).parameters())
            cost = ModelCost(count, count, 16, described_vocabulary(said), described_layers(said))
            rows.append(
                (f"loading, {engine.layout}, {precision}", planned_loading(training, cost, engine.layout)[0] / peak)
            )
    return rows


if __name__ == "__main__":
    main()
