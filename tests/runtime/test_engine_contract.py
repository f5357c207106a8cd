"""What every engine must do, under every ZeRO stage: the losses of plain torch, exact resume, an export that opens."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from trainshed.record.storage import Storage
from trainshed.runtime import tasks
from trainshed.runtime.data import tokenizer
from trainshed.runtime.shards import BlockWriter
from trainshed.runtime.training.optimizers import build_optimizer
from trainshed.runtime.training.order import Order
from trainshed.spec.models import Gpt2
from trainshed.spec.optimizers import AdamW
from trainshed.spec.prepare import TrainBpe
from trainshed.spec.saving import Checkpoints, Validation
from trainshed.spec.schedules import Cosine
from trainshed.spec.train import Training
from trainshed.spec.workers import Workers

pytestmark = pytest.mark.slow

TRAINING = Training(
    model=Gpt2(layers=2, heads=2, width=32),
    data="run://text",
    optimizer=AdamW(learning_rate=0.01),
    schedule=Cosine(warmup_steps=2),
    workers=Workers(count=2, per_device_batch_size=2),
    global_batch_size=8,
    steps=12,
    checkpoint=Checkpoints(every_steps=6),
    validation=Validation(every_steps=6, max_blocks=5),
)
BLOCK = 16


def prepare(folder, training=TRAINING):
    trained = tokenizer.train(TrainBpe(vocab_size=300), ["the cat sat on the mat and the dog lay by the door"] * 20)
    tokenizer.save(trained, TrainBpe(vocab_size=300), BLOCK, folder / "data" / "tokenizer")
    writer = BlockWriter(Storage.open(folder), "data", "train", BLOCK, trained.get_vocab_size())
    writer.add(np.random.default_rng(0).integers(0, trained.get_vocab_size(), 64 * BLOCK).astype(np.uint32))
    manifest = {"block_size": BLOCK, "vocab_size": trained.get_vocab_size(), "splits": {"train": writer.close()}}
    (folder / "data" / "manifest.json").write_text(json.dumps(manifest))
    (folder / "training.json").write_text(training.model_dump_json())
    return folder


def run(folder, stage, steps):
    """Two workers until the checkpoint at `steps`; the rows of metrics so far."""
    worker = Path(__file__).with_name("engine_worker.py")
    commands = [[sys.executable, worker, folder, str(rank), "2", str(stage), str(steps)] for rank in range(2)]
    started = [
        subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for command in commands
    ]
    for process in started:
        _, stderr = process.communicate(timeout=240)
        assert process.returncode == 0, stderr[-3000:]
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def plain_torch_losses(folder):
    """One process, whole batches, no engine: the reference."""
    from trainshed.runtime.shards import Blocks

    manifest = json.loads((folder / "data" / "manifest.json").read_text())
    blocks = Blocks(folder / "data", manifest, "train")
    torch.manual_seed(TRAINING.seed)
    model = tasks.build(TRAINING, tasks.DataFacts.read(folder / "data", manifest)).make_model()
    optimizer = build_optimizer(TRAINING.optimizer, model)
    order = Order(len(blocks), TRAINING.global_batch_size, TRAINING.seed)
    losses = []
    for step in range(TRAINING.steps):
        for group in optimizer.param_groups:
            group["lr"] = TRAINING.optimizer.learning_rate * TRAINING.schedule.factor(step, TRAINING.steps)
        tokens = torch.from_numpy(blocks.take(order.batch(step))["tokens"])
        loss = F.cross_entropy(model(tokens).logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), TRAINING.regularization.max_grad_norm)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_an_engine_trains_like_plain_torch_resumes_exactly_and_exports(stage, tmp_path):
    whole = prepare(tmp_path / "whole")
    rows = run(whole, stage, TRAINING.steps)
    losses = [row["train_loss"] for row in rows]
    assert losses == pytest.approx(plain_torch_losses(whole), rel=1e-5)
    assert losses[0] == pytest.approx(np.log(300), rel=0.05)

    cut = prepare(tmp_path / "cut")
    assert [row["step"] for row in run(cut, stage, 6)] == list(range(1, 7))
    resumed = run(cut, stage, TRAINING.steps)
    assert [row["train_loss"] for row in resumed] == losses
    assert [row["validation_loss"] for row in resumed[5::6]] == [row["validation_loss"] for row in rows[5::6]]

    model = AutoModelForCausalLM.from_pretrained(whole / "model")
    assert Tokenizer.from_file(str(whole / "model" / "tokenizer.json")).get_vocab_size() == model.config.vocab_size
    first, second = (AutoModelForCausalLM.from_pretrained(folder / "model").state_dict() for folder in (whole, cut))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_bf16_trains_close_to_fp32_and_resumes_exactly(tmp_path):
    training = TRAINING.model_copy(update={"precision": "bf16"})
    whole, cut = prepare(tmp_path / "whole", training), prepare(tmp_path / "cut", training)
    losses = [row["train_loss"] for row in run(whole, 2, TRAINING.steps)]
    assert losses == pytest.approx(plain_torch_losses(whole), rel=2e-2)
    run(cut, 2, 6)
    assert [row["train_loss"] for row in run(cut, 2, TRAINING.steps)] == losses
    assert next(AutoModelForCausalLM.from_pretrained(whole / "model").parameters()).dtype == torch.bfloat16
