"""What the parts of benchmarks/gpu.py share: blocks of tokens, a decoder's task, a step's time, the device's memory."""

import gc
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, LlamaConfig

from trainshed.record.storage import Storage
from trainshed.runtime.training.host import BareHost, World
from trainshed.runtime.training.loop.loop import train
from trainshed.runtime.training.loop.metric_log import MetricLog
from trainshed.runtime.training.loop.order import Order
from trainshed.runtime.training.loop.setup import make_engine
from trainshed.runtime.training.loop.state import Splits
from trainshed.spec.plan.model import cost_of
from trainshed.spec.plan.states import need
from trainshed.spec.training.models import DataSizes
from trainshed.spec.training.train import Training

WARM_UP = 3
GIB = 2**30


@dataclass(frozen=True)
class Size:
    """A Llama for devices of at least so much memory."""

    memory: int
    layers: int
    heads: int
    width: int
    inner: int
    vocab: int
    length: int
    """Tokens of a sample."""

    def config(self, attention: str = "sdpa") -> LlamaConfig:
        """In transformers' words."""
        return LlamaConfig(
            vocab_size=self.vocab, hidden_size=self.width, intermediate_size=self.inner, num_hidden_layers=self.layers,
            num_attention_heads=self.heads, max_position_embeddings=2 * self.length, tie_word_embeddings=False,
            use_cache=False, bos_token_id=0, eos_token_id=1, attn_implementation=attention,
        )  # fmt: skip


def size_for(device: torch.device, sizes: tuple[Size, ...], *, tiny: bool) -> Size:
    """The largest that the device has memory for."""
    return sizes[-1] if tiny else next(one for one in sizes if one.memory <= memory_of(device))


class Tokens:
    """Random blocks, the same on both sides."""

    def __init__(self, count: int, time: int, vocab: int) -> None:
        self.blocks = torch.randint(2, vocab, (count, time), generator=torch.Generator().manual_seed(0)).numpy()

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
        model = AutoModelForCausalLM.from_config(self.config)
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


@dataclass(frozen=True)
class Measured:
    """One side of a pair."""

    step_s: float
    """Median seconds of a step after the warm-up."""
    peak: int
    """Bytes of the device that tensors took at most in these steps; 0 on a CPU."""


def platform(training: Training, task: Decoder, samples: Tokens, device: torch.device) -> Measured:
    """Our loop under a host without Ray, with its metrics."""
    free(device)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        if training.engine.kind == "deepspeed":
            alone()
        log = MetricLog(Storage.open(folder), "metrics.jsonl")
        host = BareHost(World(0, 1, device))
        engine = make_engine(training, task, host.world)
        forget_peak(device)
        train(training, task, Splits(samples, samples), host, engine, metric_log=log)
        peak = peak_of_memory(device)
        log.close()
        rows = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return Measured(statistics.median(row["step_time_s"] for row in rows[WARM_UP:]), peak)


def steps_of(
    training: Training, samples: Tokens, device: torch.device, step: Callable[[torch.Tensor], None]
) -> Measured:
    """The steps of side B over the same blocks in the same order."""
    order = Order(len(samples), training.global_batch_size, training.seed)
    seconds = []
    forget_peak(device)
    for number in range(training.steps):
        began = time.perf_counter()
        step(torch.from_numpy(samples.blocks[order.batch(number)]).to(device, non_blocking=True))
        seconds.append(time.perf_counter() - began)
    return Measured(statistics.median(seconds[WARM_UP:]), peak_of_memory(device))


def plain_step(
    model, weights: list, optimizer, device: torch.device, max_norm: float
) -> Callable[[torch.Tensor], None]:
    """One step of the bare side, of either part."""

    def step(tokens: torch.Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(input_ids=tokens).logits[:, :-1]
        loss = F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, max_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        loss.item()

    return step


def planned(training: Training, samples: Tokens, vocab: int, *, checkpointing: bool) -> int:
    """Bytes of the device that the plan counts for these steps."""
    cost = cost_of(training, DataSizes(vocab_size=vocab, context=samples.blocks.shape[1]))
    batch = training.workers.per_device
    return need(training, cost, training.engine.layout, batch, checkpointing=checkpointing).total


def memory_of(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0


def name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_of_memory(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


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
