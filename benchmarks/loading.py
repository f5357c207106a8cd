"""F4: peak memory of a worker while it loads existing weights, over its share of them and the largest part.

    .venv/bin/python benchmarks/loading.py [--workers 2] [--layers 14]

A Llama of some 200 million weights (32,000 tokens, 1,024 wide, embeddings and head apart) is written in bf16 and loaded
by workers under ZeRO-3 and fsdp, fp32 and bf16. A worker's share is what it keeps, a part what an engine takes apart at
once, both in the type that the engine holds them in: a layer, an embedding or the head under ZeRO-3; under fsdp all
that is outside of layers is one part. Memory is what the kernel counts as resident, less what was before the first
weight; a small model was loaded before, so that code is not counted. Writes F4.json.
"""

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path

os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**20)  # what is freed goes back to the system, so that a peak is one

import torch
from results import write_result
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from engine_worker import begin, end
from forking import run_workers
from trainshed.runtime import tasks
from trainshed.runtime.tasks.weight_roles import layers_of
from trainshed.runtime.training import engines
from trainshed.spec.training.engines import DeepSpeed, Fsdp
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.optimizers import AdamW
from trainshed.spec.training.train import Training
from trainshed.spec.training.workers import Workers

ENGINES = {"ZeRO-3": DeepSpeed(zero_stage=3), "fsdp": Fsdp()}


class Measured(Exception):
    """What is wanted is known; nothing is trained."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--layers", type=int, default=14)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        write_model(Path(place) / "small", 1, tokens=64, width=32)
        model = write_model(Path(place) / "model", options.layers)
        found = []
        for name, engine in ENGINES.items():
            for precision in ("fp32", "bf16"):
                folder = Path(place) / f"{name}-{precision}"
                folder.mkdir()
                asked = folder, model, engine.model_dump_json(), precision, folder / "rendezvous"
                run_workers(load, options.workers, *asked, logs=folder)
                found += [said(name, precision, json.loads(one.read_text())) for one in sorted(folder.glob("*.json"))]
    what = "peak memory of a worker while loading / (its share + the largest part), 200 M weights"
    command = f"python benchmarks/loading.py --workers {options.workers} --layers {options.layers}"
    write_result("F4", what, "<= 1.15", found, command=command, pairs=[])


def said(name: str, precision: str, one: dict[str, float]) -> float:
    ratio = one["peak"] / (one["share"] + one["part"])
    megabytes = {key: f"{value / 1e6:.0f} MB" for key, value in one.items()}
    print(f"{name} {precision}: {megabytes}: {ratio:.2f}")
    return ratio


def write_model(folder: Path, layers: int, *, tokens: int = 32_000, width: int = 1024) -> str:
    config = LlamaConfig(
        vocab_size=tokens, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
        num_attention_heads=16, num_key_value_heads=8, dtype=torch.bfloat16,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    print(f"{sum(one.numel() for one in model.parameters()):,} weights")
    model.save_pretrained(folder, max_shard_size="100MB")
    return str(folder)


def load(rank, workers, folder, model, engine, precision, rendezvous):
    """One worker: loads as its engine has it load, and writes what it took."""
    begin(rank, workers, rendezvous)
    measure(Path(model).with_name("small"), 64, engine, precision, workers)
    found = measure(Path(model), 32_000, engine, precision, workers)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    end()


def measure(model, tokens, engine, precision, workers):
    """Bytes: the highest memory while a model is loaded, this worker's share of it, and the largest part."""
    kind = Fsdp if json.loads(engine)["kind"] == "fsdp" else DeepSpeed
    training = training_of(model, kind.model_validate_json(engine), precision, workers)
    task = tasks.build(training, tasks.DataFacts(tokens, 16, None))
    found = {}

    def begun(place, dtype):
        found.update(before=resident("VmRSS"), width=dtype.itemsize)
        Path("/proc/self/clear_refs").write_text("5")  # the highest so far begins anew
        return task.make_in_parts(place, dtype)

    def loaded(made, _):
        found["peak"] = resident("VmHWM") - found.pop("before")
        found["share"] = sum(kept(one) for one in made.parameters())
        found["part"] = found.pop("width") * largest(made, engine)
        raise Measured

    with contextlib.suppress(Measured):  # an optimizer is made of what is loaded and split
        engines.build(training, task.make_model, loaded, torch.device("cpu"), make_in_parts=begun)
    return found


def training_of(model, engine, precision, workers):
    """One that begins with a model's weights."""
    return Training(
        model=Pretrained(name_or_path=str(model)), data="run://x", optimizer=AdamW(learning_rate=0.1), steps=1,
        global_batch_size=workers, workers=Workers(count=workers, per_device_batch_size=1), precision=precision,
        engine=engine,
    )  # fmt: skip


def kept(parameter):
    """Bytes of a parameter that a worker has for good."""
    local = parameter.to_local() if hasattr(parameter, "to_local") else getattr(parameter, "ds_tensor", parameter)
    return local.numel() * local.element_size()


def largest(model, engine):
    """Weights in the largest of what is taken apart at once."""
    layers = [layer for _, layer in layers_of(model)]
    inside = {id(one) for layer in layers for one in layer.modules()}
    own = [count(module.parameters(recurse=False)) for module in model.modules() if id(module) not in inside]
    rest = sum(own) if json.loads(engine)["kind"] == "fsdp" else max(own)
    return max(rest, *(count(layer.parameters()) for layer in layers))


def count(parameters):
    """Weights, whole."""
    return sum(getattr(one, "ds_numel", one.numel()) for one in parameters)


def resident(field: str) -> int:
    """Bytes, of /proc/self/status."""
    (kilobytes,) = re.findall(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) * 1024


if __name__ == "__main__":
    main()
