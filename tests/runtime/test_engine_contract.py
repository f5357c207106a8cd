"""What every engine must do: the losses of plain torch, exact resume by any engine and world, an export that opens."""

import json
import secrets
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from engine_worker import work
from forking import run_workers
from trainshed.record.checkpoints import all_checkpoints
from trainshed.record.storage import Storage
from trainshed.runtime import tasks
from trainshed.runtime.data import tokenizer
from trainshed.runtime.shards import Blocks, BlockWriter
from trainshed.runtime.training.optimizers import build_optimizer
from trainshed.runtime.training.order import Order
from trainshed.spec.models import Gpt2, growth
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
    checkpoint=Checkpoints(every_steps=6, keep=5),
    validation=Validation(every_steps=6, max_samples=5),
)
MUP = Gpt2(layers=2, heads=8, width=64, mup_base_width=16)
BLOCK = 16
ENGINES = {f"zero-{stage}": {"engine.kind": "deepspeed", "engine.zero_stage": stage} for stage in range(4)} | {
    "ddp": {"engine.kind": "ddp"}
}


def prepare(folder, training=TRAINING):
    trained = tokenizer.train(TrainBpe(vocab_size=300), ["the cat sat on the mat and the dog lay by the door"] * 20)
    tokenizer.save(trained, TrainBpe(vocab_size=300), BLOCK, folder / "data" / "tokenizer")
    writer = BlockWriter(Storage.open(folder), "data", "train", BLOCK, trained.get_vocab_size())
    writer.add(np.random.default_rng(0).integers(0, trained.get_vocab_size(), 64 * BLOCK).astype(np.uint32))
    manifest = {"block_size": BLOCK, "vocab_size": trained.get_vocab_size(), "splits": {"train": writer.close()}}
    (folder / "data" / "manifest.json").write_text(json.dumps(manifest))
    (folder / "training.json").write_text(training.model_dump_json())
    return folder


def run(folder, settings, stop_after=TRAINING.steps, workers=2):
    """The workers until `stop_after`; the rows of metrics so far."""
    rendezvous = folder / f"rendezvous-{secrets.token_hex(4)}"
    run_workers(work, workers, folder, rendezvous, stop_after, settings, logs=folder)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def plain_torch_losses(folder, training=TRAINING):
    """One process, whole batches, no engine: the reference."""
    manifest = json.loads((folder / "data" / "manifest.json").read_text())
    blocks = Blocks(folder / "data", manifest, "train")
    torch.manual_seed(training.seed)
    model = tasks.build(training, tasks.DataFacts.read(folder / "data", manifest)).make_model()
    optimizer = build_optimizer(training.optimizer, model, growth=growth(training.model))
    order = Order(len(blocks), training.global_batch_size, training.seed)
    losses = []
    for step in range(training.steps):
        for group in optimizer.param_groups:
            factor = training.schedule.factor(step, training.steps) * group["lr_scale"]
            group["lr"] = training.optimizer.learning_rate * factor
        tokens = torch.from_numpy(blocks.take(order.batch(step))["tokens"])
        loss = F.cross_entropy(model(tokens).logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.regularization.max_grad_norm)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def train_losses(rows):
    return [row["train_loss"] for row in rows]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_trains_like_plain_torch_resumes_exactly_and_exports(engine, tmp_path):
    whole = prepare(tmp_path / "whole")
    rows = run(whole, ENGINES[engine])
    losses = train_losses(rows)
    assert losses == pytest.approx(plain_torch_losses(whole), rel=1e-5)
    assert losses[0] == pytest.approx(np.log(300), rel=0.05)

    cut = prepare(tmp_path / "cut")
    assert [row["step"] for row in run(cut, ENGINES[engine], 5)] == list(range(1, 6))
    resumed = run(cut, ENGINES[engine])
    assert train_losses(resumed) == losses
    assert [row["order_hash"] for row in resumed] == [row["order_hash"] for row in rows]
    assert [row["validation_loss"] for row in resumed[5::6]] == [row["validation_loss"] for row in rows[5::6]]

    model = AutoModelForCausalLM.from_pretrained(whole / "model")
    assert Tokenizer.from_file(str(whole / "model" / "tokenizer.json")).get_vocab_size() == model.config.vocab_size
    first, second = (AutoModelForCausalLM.from_pretrained(folder / "model").state_dict() for folder in (whole, cut))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_training_goes_on_under_other_engines_and_numbers_of_workers(tmp_path):
    """2 workers ZeRO-2, then 1 worker ZeRO-3, 2 workers ZeRO-1, 1 worker DDP, 4 workers ZeRO-3: one loss curve."""
    folder = prepare(tmp_path / "moved")
    expected = plain_torch_losses(folder)
    run(folder, ENGINES["zero-2"], 3)
    run(folder, {**ENGINES["zero-3"], "workers.count": 1}, 5, workers=1)
    run(folder, ENGINES["zero-1"], 7)
    run(folder, {**ENGINES["ddp"], "workers.count": 1}, 9, workers=1)
    rows = run(folder, {**ENGINES["zero-3"], "workers.count": 4}, workers=4)
    assert train_losses(rows) == pytest.approx(expected, rel=1e-5)
    assert next(one.manifest["workers"] for one in all_checkpoints(Storage.open(folder), ".")) == 4


def test_mup_has_the_same_losses_under_engines_that_split_and_that_copy_and_goes_on(tmp_path):
    """Under DDP; under ZeRO-3, and from its checkpoint ZeRO-1: one loss curve, and not the standard model's."""
    changes = {"model": MUP, "optimizer": AdamW(learning_rate=0.02, weight_decay=0.1)}
    training = TRAINING.model_copy(update=changes)
    whole, moved = prepare(tmp_path / "whole", training), prepare(tmp_path / "moved", training)
    expected = plain_torch_losses(whole, training)
    assert train_losses(run(whole, ENGINES["ddp"])) == pytest.approx(expected, rel=1e-5)
    run(moved, ENGINES["zero-3"], 6)
    assert train_losses(run(moved, ENGINES["zero-1"])) == pytest.approx(expected, rel=1e-5)
    standard = training.model_copy(update={"model": MUP.model_copy(update={"mup_base_width": None})})
    assert expected != pytest.approx(plain_torch_losses(whole, standard), rel=1e-3)


def test_bf16_trains_close_to_fp32_and_resumes_exactly(tmp_path):
    training = TRAINING.model_copy(update={"precision": "bf16"})
    whole, cut = prepare(tmp_path / "whole", training), prepare(tmp_path / "cut", training)
    losses = train_losses(run(whole, ENGINES["zero-2"]))
    assert losses == pytest.approx(plain_torch_losses(whole), rel=2e-2)
    run(cut, ENGINES["zero-2"], 6)
    assert train_losses(run(cut, ENGINES["zero-2"])) == losses
    assert next(AutoModelForCausalLM.from_pretrained(whole / "model").parameters()).dtype == torch.bfloat16


VARIANTS = {
    "optimizer on the CPU, ZeRO-1": {"engine.zero_stage": 1, "engine.offload": {"optimizer": "cpu"}},
    "all on the CPU, ZeRO-3": {"engine.zero_stage": 3, "engine.offload": {"optimizer": "cpu", "parameters": "cpu"}},
    "activations again, ZeRO-2": {"engine.zero_stage": 2, "engine.activation_checkpointing": True},
    "activations again, DDP": {"engine.kind": "ddp", "engine.activation_checkpointing": True},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_kept_elsewhere_or_computed_again_changes_no_loss(variant, tmp_path):
    folder = prepare(tmp_path)
    run(folder, VARIANTS[variant], 5)
    assert train_losses(run(folder, VARIANTS[variant])) == pytest.approx(plain_torch_losses(folder), rel=1e-5)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_model_has_the_same_losses(tmp_path):
    folder = prepare(tmp_path)
    rows = run(folder, {"engine.kind": "ddp", "engine.compile": True, "workers.count": 1}, workers=1)
    assert train_losses(rows) == pytest.approx(plain_torch_losses(folder), rel=1e-4)
