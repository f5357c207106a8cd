"""One GPU: MFU, and the platform's training loop against a plain torch loop. Runs with or without Ray and DeepSpeed.

    python benchmarks/gpu.py [--pairs 5] [--steps 20] [--engine ddp]
    python benchmarks/gpu.py --device cpu --tiny          (seconds; only shows that it runs)

Needs torch, transformers, pydantic, pyarrow, numpy, pyyaml and psutil; `--engine deepspeed` needs deepspeed. A = the
loop of `runtime/training/loop/loop.py` under a BareHost, with its metrics; B = the same model, batches, optimizer and
clipping in a loop of twenty lines. B, and A with ddp, autocast to bf16 over fp32 weights. Interleaved A B A B, median
step after the warm-up. MFU is `runtime/training/loop/utilisation.py`'s, as in every training.
Writes benchmarks/results/G1.json (MFU) and G2.json (platform / bare) where there is a GPU whose peak is known.
"""

import argparse
import gc
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

NEEDED = ("torch", "transformers", "pydantic", "pyarrow", "numpy", "yaml", "psutil")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if MISSING:
    raise SystemExit(f"benchmarks/gpu.py needs {', '.join(MISSING)}: python -m pip install {' '.join(MISSING)}")
sys.path.insert(0, str(Path(__file__).parents[1] / "platform"))

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from results import write_result  # noqa: E402
from transformers import AutoModelForCausalLM, LlamaConfig  # noqa: E402

from trainshed.record.storage import Storage  # noqa: E402
from trainshed.runtime.training.host import BareHost, World  # noqa: E402
from trainshed.runtime.training.loop.loop import train  # noqa: E402
from trainshed.runtime.training.loop.metric_log import MetricLog  # noqa: E402
from trainshed.runtime.training.loop.order import Order  # noqa: E402
from trainshed.runtime.training.loop.setup import make_engine  # noqa: E402
from trainshed.runtime.training.loop.state import Splits  # noqa: E402
from trainshed.runtime.training.loop.utilisation import peak_of, step_flops  # noqa: E402
from trainshed.runtime.training.optim.optimizers import build_optimizer  # noqa: E402
from trainshed.spec.plan.model import cost_of  # noqa: E402
from trainshed.spec.plan.states import need  # noqa: E402
from trainshed.spec.training.models import DataSizes  # noqa: E402
from trainshed.spec.training.train import Training  # noqa: E402

WARM_UP = 3
USABLE = 0.9
GIB = 2**30
SIZES = (  # least memory, layers, heads, width, feed-forward, vocabulary, time
    (120 * GIB, 32, 20, 2560, 6912, 32_000, 2048),
    (60 * GIB, 22, 16, 2048, 5632, 32_000, 2048),
    (20 * GIB, 24, 8, 1024, 2816, 32_000, 2048),
    (0, 2, 2, 64, 192, 256, 64),
)


class Tokens:
    """Random blocks, the same on both sides."""

    def __init__(self, count: int, time: int, vocab: int) -> None:
        self.blocks = torch.randint(0, vocab, (count, time), generator=torch.Generator().manual_seed(0)).numpy()

    def __len__(self) -> int:
        return len(self.blocks)

    def take(self, ids) -> dict:
        return {"tokens": self.blocks[ids]}


class Decoder:
    """The task of side A; side B calls its model and its loss."""

    unit = "token"

    def __init__(self, config: LlamaConfig, *, checkpointing: bool) -> None:
        self.config, self.checkpointing = config, checkpointing

    def make_model(self) -> torch.nn.Module:
        model = AutoModelForCausalLM.from_config(self.config, attn_implementation="sdpa")
        if self.checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        return model

    def batch(self, rows: dict, *, keys: list) -> dict:  # noqa: ARG002
        return {"input_ids": torch.from_numpy(rows["tokens"])}

    def weight(self, batch: dict) -> float:
        samples, length = batch["input_ids"].shape
        return float(samples * (length - 1))

    def loss(self, forward, batch: dict, *, label_smoothing: float) -> torch.Tensor:  # noqa: ARG002
        logits = forward(**batch).logits[:, :-1].float()
        return F.cross_entropy(logits.flatten(0, 1), batch["input_ids"][:, 1:].flatten(), reduction="sum")

    def meter(self):
        return LossMeter(self)


class LossMeter:
    """The held-out loss that the loop takes after its last step."""

    def __init__(self, task: Decoder) -> None:
        self.task, self.sums, self.rows = task, torch.zeros(2, dtype=torch.float64), []

    def add(self, forward, batch: dict) -> None:
        loss = self.task.loss(forward, batch, label_smoothing=0.0)
        self.sums += torch.tensor([float(loss), self.task.weight(batch)], dtype=torch.float64)

    def metrics(self) -> dict:
        return {"loss": float(self.sums[0] / self.sums[1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--engine", choices=("ddp", "deepspeed"), default="ddp")
    parser.add_argument("--tiny", action="store_true", help="a model of a few thousand weights")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device: give --device cpu --tiny, or run it on a machine with a GPU")
    device = torch.device(options.device)
    training, task, samples = setting(device, options)
    count = sum(weight.numel() for weight in on_meta(task).parameters())
    print(
        f"{count / 1e9:.3f} B parameters, {training.workers.per_device} x {samples.blocks.shape[1]} tokens a step",
        end="",
    )
    print(f", activation checkpointing {'on' if task.checkpointing else 'off'}, {options.engine}", flush=True)
    pairs = []
    for number in range(options.pairs):
        pairs.append((platform(training, task, samples, device), bare(training, task, samples, device)))
        a, b = pairs[-1]
        print(
            f"pair {number}: {tokens(training, samples) / a:10,.0f} | {tokens(training, samples) / b:10,.0f} tokens/s"
        )
    report(pairs, count, training, samples, device, options)


def setting(device: torch.device, options: argparse.Namespace) -> tuple:
    """The largest model of the table for this memory, and the largest batch, as the plan counts them."""
    memory = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0
    sizes = SIZES[-1] if options.tiny else next(one for one in SIZES if one[0] <= memory)
    _, layers, heads, width, inner, vocab, length = sizes
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, max_position_embeddings=length, tie_word_embeddings=False, use_cache=False,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    shape = {
        "kind": "llama",
        "layers": layers,
        "heads": heads,
        "width": width,
        "feed_forward": inner,
        "tie_embeddings": False,
    }
    engine = {"kind": "ddp"} if options.engine == "ddp" else {"kind": "deepspeed", "zero_stage": 1}

    def made(batch: int) -> Training:
        job = {
            "model": shape, "data": "run://none", "engine": engine, "precision": "bf16", "steps": options.steps,
            "optimizer": {"kind": "adamw", "learning_rate": 1e-4}, "global_batch_size": batch, "self_test": False,
            "workers": {"count": 1, "gpus": float(device.type == "cuda"), "per_device_batch_size": batch},
            "validation": {"every_steps": 10**6, "max_samples": 1},
        }  # fmt: skip
        return Training.model_validate_json(json.dumps(job), strict=True)

    def fits(batch: int, checkpointing: bool) -> bool:
        cost = cost_of(made(batch), DataSizes(vocab_size=vocab, context=length))
        return (
            need(made(batch), cost, made(batch).engine.layout, batch, checkpointing=checkpointing).total
            <= USABLE * memory
        )

    choices = [(batch, again) for again in (False, True) for batch in (16, 8, 4, 2)]
    batch, again = next((one for one in choices if memory and fits(*one)), (2, options.tiny))
    samples = Tokens(max(64, batch * 4), length, vocab)
    return made(batch), Decoder(config, checkpointing=again), samples


def platform(training: Training, task: Decoder, samples: Tokens, device: torch.device) -> float:
    """Median seconds of a step of our loop."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        if training.engine.kind == "deepspeed":
            alone()
        log = MetricLog(Storage.open(folder), "metrics.jsonl")
        host = BareHost(World(0, 1, device))
        engine = make_engine(training, task, host.world)
        train(training, task, Splits(samples, samples), host, engine, metric_log=log)
        log.close()
        rows = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    free(device)
    return statistics.median(row["step_time_s"] for row in rows[WARM_UP:])


def bare(training: Training, task: Decoder, samples: Tokens, device: torch.device) -> float:
    """Median seconds of a step of plain torch."""
    torch.manual_seed(training.seed)
    model = task.make_model().to(device)
    optimizer = build_optimizer(training.optimizer, model)
    order = Order(len(samples), training.global_batch_size, training.seed)
    seconds = []
    for step in range(training.steps):
        began = time.perf_counter()
        tokens = torch.from_numpy(samples.blocks[order.batch(step)]).to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(input_ids=tokens).logits[:, :-1]
        loss = F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.regularization.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        loss.item()
        seconds.append(time.perf_counter() - began)
    del model, optimizer, logits, loss
    free(device)
    return statistics.median(seconds[WARM_UP:])


def report(
    pairs: list, count: int, training: Training, samples: Tokens, device: torch.device, options: argparse.Namespace
) -> None:
    """Prints both figures; keeps them where the device's peak is known."""
    length = samples.blocks.shape[1]
    flops = step_flops(training.model, count, samples=training.global_batch_size, time=length)
    ratios = [b / a for a, b in pairs]
    print(f"platform / bare: {statistics.median(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f})")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    peak = peak_of(device, "bf16")
    if peak is None:
        print(f"MFU: the peak of {name} is not known; {flops / pairs[0][0] / 1e12:.4f} TFLOP/s")
        return
    mfu = [flops / a / peak for a, _ in pairs]
    command = f"python benchmarks/gpu.py --pairs {options.pairs} --steps {options.steps} --engine {options.engine}"
    what = f"{count / 1e9:.2f} B Llama, bf16, sequence {length}, {options.engine}, {name}"
    write_result("G1", f"MFU of {what}", ">= 0.45", mfu, command=command, pairs=[])
    write_result("G2", f"tokens/s platform / bare torch, {what}", ">= 0.99", ratios, command=command, pairs=[])


def tokens(training: Training, samples: Tokens) -> int:
    return training.global_batch_size * samples.blocks.shape[1]


def on_meta(task: Decoder) -> torch.nn.Module:
    with torch.device("meta"):
        return task.make_model()


def alone() -> None:
    """A process group of one, which DeepSpeed asks for."""
    os.environ.setdefault("LOCAL_RANK", "0")
    if not torch.distributed.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)


def free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
