"""What every engine must do: the losses of plain torch, exact resume by any engine and world, an export that opens."""

import json
import secrets
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from chunked_worker import work_in_chunks
from engine_worker import work, work_through
from forking import run_workers
from trainshed.record.checkpoints import all_checkpoints
from trainshed.record.data_manifest import DataManifest
from trainshed.record.storage import Storage
from trainshed.runtime import tasks
from trainshed.runtime.data import tokenizer
from trainshed.runtime.shards import Blocks, BlockWriter
from trainshed.runtime.training import engines
from trainshed.runtime.training.host import World
from trainshed.runtime.training.loop.order import Order, share
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.spec.data.prepare import TrainBpe
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.engines import Ddp
from trainshed.spec.training.models import Gpt2, Llama, Pretrained, growth
from trainshed.spec.training.optimizers import AdamW, AdamW8bit
from trainshed.spec.training.regularization import Regularization
from trainshed.spec.training.saving import Checkpoints, Validation
from trainshed.spec.training.schedules import Cosine
from trainshed.spec.training.train import Training
from trainshed.spec.training.workers import Workers

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
ALONE = World(0, 1, torch.device("cpu"))
ENGINES = {f"zero-{stage}": {"engine.kind": "deepspeed", "engine.zero_stage": stage} for stage in range(4)} | {
    "ddp": {"engine.kind": "ddp"},
    "fsdp": {"engine.kind": "fsdp"},
}


def prepare(folder, training=TRAINING):
    trained = tokenizer.train(TrainBpe(vocab_size=300), ["the cat sat on the mat and the dog lay by the door"] * 20)
    tokenizer.save(trained, TrainBpe(vocab_size=300), BLOCK, folder / "data" / "tokenizer")
    writer = BlockWriter(Storage.open(folder), "data", "train", BLOCK, trained.get_vocab_size())
    writer.add(np.random.default_rng(0).integers(0, trained.get_vocab_size(), 64 * BLOCK).astype(np.uint32))
    manifest = DataManifest(block_size=BLOCK, vocab_size=trained.get_vocab_size(), splits={"train": writer.close()})
    (folder / "data" / "manifest.json").write_text(json.dumps(manifest.as_json()))
    (folder / "training.json").write_text(training.model_dump_json())
    return folder


def manifest_of(data):
    return DataManifest.model_validate_json((data / "manifest.json").read_text())


def run(folder, settings, stop_after=TRAINING.steps, workers=2):
    """The workers until `stop_after`; the rows of metrics so far."""
    rendezvous = folder / f"rendezvous-{secrets.token_hex(4)}"
    run_workers(work, workers, folder, rendezvous, stop_after, settings, logs=folder)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def existing(folder, *, dropout=0.1, shape=TRAINING.model, **more):
    """A training of weights that are there, in transformers' layout, with dropout; its folder has data prepared."""
    fresh = TRAINING.model_copy(update={"model": shape.model_copy(update={"dropout": dropout})})
    prepare(folder, fresh)
    facts = tasks.DataFacts.read(folder / "data", manifest_of(folder / "data"))
    torch.manual_seed(1)
    task = tasks.build(fresh, facts)
    task.export(task.make_model().state_dict(), folder / "existing")
    changes = {"model": Pretrained(name_or_path=str(folder / "existing")), "self_test": False, **more}  # of fresh ones
    training = TRAINING.model_copy(update=changes)
    (folder / "training.json").write_text(training.model_dump_json())
    return training


def run_through(folder, runs):
    """Many trainings in one pair of workers, which stand once; see `work_through`."""
    run_workers(work_through, 2, folder / f"rendezvous-{secrets.token_hex(4)}", runs, logs=folder, limit_s=900)


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def plain_torch_losses(folder, training=TRAINING, *, workers=None, drops=True):
    """One process, no engine: the reference. On whole batches, or pass by pass, dropping what so many workers drop."""
    manifest = manifest_of(folder / "data")
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
        optimizer.zero_grad()
        loss = 0.0
        model.train(drops)
        for part in passes(training, order.batch(step), step, workers):
            tokens = torch.from_numpy(blocks.take(part)["tokens"])
            logits = model(tokens).logits[:, :-1]
            of_pass = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            of_pass = of_pass * len(part) / training.global_batch_size
            of_pass.backward()
            loss += float(of_pass.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.regularization.max_grad_norm)
        optimizer.step()
        losses.append(loss)
    return losses


def passes(training, ids, step, workers):
    """The samples of each pass, with torch seeded as its worker seeds it."""
    if workers is None:
        yield ids
        return
    for worker in range(workers):
        torch.manual_seed(hash((training.seed, step, worker)))
        yield from share(ids, worker=worker, workers=workers, per_device=training.workers.per_device)


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


EXISTING = {
    **{name: (settings, {}) for name, settings in ENGINES.items()},
    "zero-3-lora-activations-again": (
        {**ENGINES["zero-3"], "engine.activation_checkpointing": True},
        {"lora": Lora(rank=4, dropout=0.2)},
    ),
    "zero-1-bf16": (ENGINES["zero-1"], {"precision": "bf16"}),
    "ddp-activations-again": ({**ENGINES["ddp"], "engine.activation_checkpointing": True}, {}),
    "zero-2-activations-again": ({**ENGINES["zero-2"], "engine.activation_checkpointing": True}, {}),
    "zero-2-average": (ENGINES["zero-2"], {"regularization": Regularization(ema_decay=0.9)}),
    "zero-2-bf16": (ENGINES["zero-2"], {"precision": "bf16"}),
    "fsdp-lora": (ENGINES["fsdp"], {"lora": Lora(rank=4, dropout=0.2)}),
    "fsdp-activations-again": ({**ENGINES["fsdp"], "engine.activation_checkpointing": True}, {}),
    "fsdp-kept-whole": (
        {**ENGINES["fsdp"], "engine.reshard_after_forward": False, "engine.reduce_each_pass": False},
        {"regularization": Regularization(ema_decay=0.9)},
    ),
    "fsdp-bf16": ({**ENGINES["fsdp"], "engine.reduce_each_pass": False}, {"precision": "bf16"}),
}


@pytest.fixture(scope="module")
def existing_weights(tmp_path_factory):
    """Existing weights with dropout, trained under each engine: to the end, and killed after step 9, resumed at 6."""
    folder, runs, trainings = tmp_path_factory.mktemp("existing"), [], {}
    for name, (settings, more) in EXISTING.items():
        trainings[name] = existing(folder / name, **more)
        shutil.copytree(folder / name, folder / f"{name}-killed")
        runs += [(folder / name, settings, None)]
        runs += [(folder / f"{name}-killed", settings, kill_after) for kill_after in (9, None)]
    run_through(folder, runs)
    return folder, trainings


@pytest.mark.parametrize("name", EXISTING)
def test_existing_weights_with_dropout_train_like_plain_torch_and_resume_to_the_bit(existing_weights, name):
    """Dropout is on from the first step, before a validation, after it, and after a restart."""
    folder, trainings = existing_weights
    rows, resumed = rows_of(folder / name), rows_of(folder / f"{name}-killed")
    losses = train_losses(rows)
    precise = trainings[name].precision == "fp32"
    expected = plain_torch_losses(folder / name, trainings[name], workers=2)
    assert losses == pytest.approx(expected, rel=1e-5 if precise else 2e-2)
    assert all(row["grad_norm"] > 0.01 for row in rows)
    assert losses != pytest.approx(plain_torch_losses(folder / name, trainings[name], drops=False), rel=1e-3)
    assert train_losses(resumed) == losses
    assert [row["grad_norm"] for row in resumed] == [row["grad_norm"] for row in rows]
    assert [row["validation_loss"] for row in resumed[5::6]] == [row["validation_loss"] for row in rows[5::6]]
    first, second = (AutoModelForCausalLM.from_pretrained(at).state_dict() for at in models_of(folder, name))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_existing_weights_have_their_activations_computed_again_from_the_first_step(tmp_path):
    engine = Ddp(activation_checkpointing=True)
    training = existing(tmp_path, engine=engine, workers=Workers(count=1, per_device_batch_size=2))
    facts = tasks.DataFacts.read(tmp_path / "data", manifest_of(tmp_path / "data"))
    task, calls = tasks.build(training, facts), []
    made = engines.build(training, task.make_model, lambda model, _: torch.optim.SGD(model.parameters()), ALONE.device)
    inside = made.model.transformer.h[0].ln_1  # the layer's own hooks stand outside of what is computed again
    inside.register_forward_pre_hook(lambda *_: calls.append(1))
    batch = task.batch({"tokens": np.arange(2 * BLOCK).reshape(2, BLOCK)}, keys=[])
    made.backward(task.loss(made.forward, batch, label_smoothing=0.0))
    assert len(calls) == 2


def models_of(folder, name):
    return folder / name / "model", folder / f"{name}-killed" / "model"


def test_a_training_goes_on_under_other_engines_and_numbers_of_workers(tmp_path):
    """2 workers ZeRO-2, then one fsdp, two ZeRO-1, one DDP, two fsdp, four ZeRO-3: one loss curve."""
    folder = prepare(tmp_path / "moved")
    expected = plain_torch_losses(folder)
    run(folder, ENGINES["zero-2"], 2)
    run(folder, {**ENGINES["fsdp"], "workers.count": 1}, 4, workers=1)
    run(folder, ENGINES["zero-1"], 6)
    run(folder, {**ENGINES["ddp"], "workers.count": 1}, 8, workers=1)
    run(folder, ENGINES["fsdp"], 10)
    rows = run(folder, {**ENGINES["zero-3"], "workers.count": 4}, workers=4)
    assert train_losses(rows) == pytest.approx(expected, rel=1e-5)
    assert next(one.manifest.workers for one in all_checkpoints(Storage.open(folder), ".")) == 4


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
    expected = plain_torch_losses(whole)
    assert losses == pytest.approx(expected, abs=0.05 * (expected[0] - expected[-1]))  # of what was learnt
    run(cut, ENGINES["zero-2"], 6)
    assert train_losses(run(cut, ENGINES["zero-2"])) == losses
    assert (
        next(AutoModelForCausalLM.from_pretrained(whole / "model").parameters()).dtype == torch.float32
    )  # its masters


VARIANTS = {
    "optimizer on the CPU, ZeRO-1": {"engine.zero_stage": 1, "engine.offload": {"optimizer": "cpu"}},
    "all on the CPU, ZeRO-3": {"engine.zero_stage": 3, "engine.offload": {"optimizer": "cpu", "parameters": "cpu"}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_kept_elsewhere_changes_no_loss(variant, tmp_path):
    folder = prepare(tmp_path)
    run(folder, VARIANTS[variant], 5)
    assert train_losses(run(folder, VARIANTS[variant])) == pytest.approx(plain_torch_losses(folder), rel=1e-5)


@pytest.mark.faults  # a minute, most of it the compiler's
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_model_has_the_same_losses(tmp_path):
    folder = prepare(tmp_path)
    rows = run(folder, {"engine.kind": "ddp", "engine.compile": True, "workers.count": 1}, workers=1)
    assert train_losses(rows) == pytest.approx(plain_torch_losses(folder), rel=1e-4)


def test_a_base_of_4_bits_and_moments_of_8_resume_to_the_bit(tmp_path):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install 'trainshed[bitsandbytes]'")
    more = {
        "shape": Llama(layers=2, heads=2, width=64),
        "lora": Lora(rank=64, dropout=0.2, quantize_base="nf4"),
        "optimizer": AdamW8bit(learning_rate=0.01),
        "engine": Ddp(),
        "precision": "bf16",
        "workers": Workers(count=2, gpus=1, per_device_batch_size=2),  # whom a job must ask for; none is used here
    }
    existing(tmp_path / "whole", **more)
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    run_through(tmp_path, [(tmp_path / "whole", {}, None), *[(tmp_path / "killed", {}, at) for at in (9, None)]])
    rows, resumed = rows_of(tmp_path / "whole"), rows_of(tmp_path / "killed")
    assert [row["step"] for row in resumed] == list(range(1, TRAINING.steps + 1))
    assert train_losses(resumed) == train_losses(rows)
    assert [row["grad_norm"] for row in resumed] == [row["grad_norm"] for row in rows]
    first, second = (load_file(tmp_path / name / "model/model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    newest = max(all_checkpoints(Storage.open(tmp_path / "killed"), "."), key=lambda one: one.step)
    with safe_open(str(tmp_path / "killed" / newest.path / newest.files[0]), framework="pt") as file:
        kept = {name for name in file.keys() if name.startswith("state/state1")}  # noqa: SIM118
        assert {file.get_slice(name).get_dtype() for name in kept} == {"U8"}


IN_CHUNKS = ["ddp", "fsdp", "zero-2", "zero-3", "zero-3-lora-activations-again", "zero-2-bf16"]


def test_logits_in_chunks_train_like_plain_torch_under_engines_that_split_and_that_copy(tmp_path):
    trainings, runs = {}, []
    for name in IN_CHUNKS:
        settings, more = EXISTING[name]
        trainings[name] = existing(tmp_path / name, **more)
        runs.append((tmp_path / name, settings, None))
    run_workers(work_in_chunks, 2, tmp_path / "rendezvous", runs, logs=tmp_path, limit_s=600)
    for name, training in trainings.items():
        expected = plain_torch_losses(tmp_path / name, training, workers=2)
        precise = training.precision == "fp32"
        assert train_losses(rows_of(tmp_path / name)) == pytest.approx(expected, rel=1e-5 if precise else 2e-2), name
