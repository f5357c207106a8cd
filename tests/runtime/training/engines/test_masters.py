"""What an engine hands out to be exported: the fp32 masters, whatever it computes in and wherever it keeps them."""

import dataclasses
import json
import secrets

import pytest
import torch

from export_worker import export_all
from forking import run_workers
from task_cases import CASES, packed_case, tuned_case
from trainshed.runtime.training.agreement import TOLERANCE
from trainshed.runtime.training.engines.masters import to_working_copy
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.engines import Ddp, DeepSpeed, Fsdp
from trainshed.spec.training.models import Gpt2, Llama
from trainshed.spec.training.optimizers import AdamW
from trainshed.spec.training.regularization import Regularization
from trainshed.spec.training.workers import Workers

SHAPE = {"layers": 2, "heads": 2, "width": 32}
LORA = Lora(rank=4, alpha=8, target_modules="all-linear")
ENGINES = {"ddp": Ddp(), "fsdp": Fsdp(), **{f"zero-{stage}": DeepSpeed(zero_stage=stage) for stage in (0, 1, 2, 3)}}
AVERAGED = Regularization(ema_decay=0.7)


def cases(folder):
    """By name: every engine in both precisions, adapters, averaged weights, tied and untied heads, other tasks."""

    def at():
        return folder / secrets.token_hex(4) / "tokenizer"

    def of(case, engine, precision="fp32", **more):
        changes = {
            "engine": ENGINES[engine], "precision": precision, "optimizer": AdamW(learning_rate=3e-3),
            "workers": Workers(count=2, per_device_batch_size=4), **more,
        }  # fmt: skip
        return dataclasses.replace(case, training=case.training.model_copy(update=changes))

    for engine, precision in BOTH:
        if (engine, precision) != ("zero-0", "bf16"):
            yield f"{engine}-{precision}", of(packed_case(at(), Gpt2(**SHAPE)), engine, precision)
    for engine in SPLITTING:
        yield f"{engine}-bf16-averaged", of(packed_case(at(), Llama(**SHAPE)), engine, "bf16", regularization=AVERAGED)
        for precision in ("fp32", "bf16"):
            (folder / f"{engine}{precision}").mkdir()
            there = folder / f"{engine}{precision}" / "tokenizer"
            yield f"{engine}-{precision}-lora", of(tuned_case(there, lora=LORA), engine, precision)
    for name in OTHER_TASKS:
        yield f"zero-3-bf16-{name}", of(CASES[name](at()), "zero-3", "bf16")
    yield "zero-2-bf16-lstm", of(CASES["lstm_classifier"](at()), "zero-2", "bf16")


BOTH = [(engine, precision) for engine in ENGINES for precision in ("fp32", "bf16")]
SPLITTING = ("zero-2", "zero-3", "fsdp")
OTHER_TASKS = ("masked_lm", "seq2seq_lm-bart", "text_classification", "image_classification")
NAMES = [
    *(f"{engine}-{precision}" for engine, precision in BOTH if (engine, precision) != ("zero-0", "bf16")),
    *(f"{engine}-{kind}" for engine in SPLITTING for kind in ("bf16-averaged", "fp32-lora", "bf16-lora")),
    *(f"zero-3-bf16-{name}" for name in OTHER_TASKS),
    "zero-2-bf16-lstm",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two workers have trained and exported, of every case."""
    folder = tmp_path_factory.mktemp("masters")
    made = dict(cases(folder))
    assert list(made) == NAMES
    run_workers(export_all, 2, folder, folder / "rendezvous", made, logs=folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_fp32_masters_of_what_is_trained_are_exported(name, folder):
    found = torch.load(folder / f"{name}.pt", weights_only=True)
    exported, working = found["exported"], found["working"]
    trained = [n for n in working if "lora" not in name or "lora_" in n]
    assert all(exported[n].dtype == torch.float32 for n in trained)
    second_names = [n for n in exported if n not in working and n.endswith("weight")]  # of tied weights
    assert "lora" in name or all(exported[n].dtype == torch.float32 for n in second_names)
    assert all(torch.equal(exported[n].to(working[n].dtype), working[n]) for n in working)
    if "bf16" in name:
        fine = [n for n in trained if not torch.equal(exported[n], exported[n].to(torch.bfloat16).float())]
        assert len(fine) > len(trained) / 2, "weights that bf16 can tell are no masters"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_export_says_what_the_workers_said_together(name, folder):
    facts = json.loads((folder / f"{name}.json").read_text())
    assert facts["dtype"] == "fp32"
    found = facts["agreement"]
    assert found["samples"] == 48
    assert found["difference"] <= found["tolerance"] / 2
    assert found["tolerance"] == TOLERANCE or "bf16" in name


def test_the_frequencies_of_rotary_positions_are_not_rounded(tmp_path):
    model = packed_case(tmp_path / "t", Llama(**SHAPE)).task.make_model()
    before = {name: buffer.clone() for name, buffer in model.named_buffers() if "inv_freq" in name}
    for _ in range(2):  # a part is cast with the layer it is in, and again with the model
        to_working_copy(model, torch.device("cpu"), torch.bfloat16)
    after = dict(model.named_buffers())
    assert before
    assert all(torch.equal(after[name], buffer) for name, buffer in before.items())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
