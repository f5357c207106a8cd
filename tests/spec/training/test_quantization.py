"""Numbers in fewer bits need GPUs, one engine and an existing model: said before anything runs, in one line."""

import pytest

from job_texts import TRAIN, changed, text
from trainshed.errors import SpecError
from trainshed.spec.load import load_files
from trainshed.spec.training import quantization
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.optimizers import AdamW, AdamW8bit

FOUR = {
    "model": {"kind": "pretrained", "name_or_path": "meta-llama/Llama-3.1-8B-Instruct"},
    "lora": {"quantize_base": "nf4"},
    "engine": {"kind": "ddp"},
    "precision": "bf16",
    "workers": {"count": 1, "gpus": 1, "per_device_batch_size": 1},
}
EIGHT = {
    "optimizer": {"kind": "adamw_8bit", "learning_rate": 1e-4},
    "engine": {"kind": "ddp"},
    "workers": {"count": 1, "gpus": 1, "per_device_batch_size": 1},
}
CPUS = {"count": 1, "per_device_batch_size": 1}
WRONG = {
    "four bits on CPUs": ({**FOUR, "workers": CPUS}, "lora.quantize_base: nf4 needs workers.gpus above 0, got 0;"),
    "eight bits on CPUs": ({**EIGHT, "workers": CPUS}, "adamw_8bit needs workers.gpus above 0, got 0; on CPUs it"),
    "four bits that are split": (
        {**FOUR, "engine": {"kind": "fsdp"}},
        "lora.quantize_base: nf4 goes with engine.kind: ddp, got fsdp; say ddp, or leave it out",
    ),
    "eight bits that are split": (
        {**EIGHT, "engine": {"kind": "deepspeed", "zero_stage": 1}},
        "optimizer.kind: adamw_8bit goes with engine.kind: ddp, got deepspeed; say ddp, or say adamw",
    ),
    "a fresh base": (
        {**FOUR, "model": {"kind": "llama", "layers": 2, "heads": 2, "width": 64}},
        "a fresh model has no",
    ),
    "adapters by themselves": (
        {**FOUR, "export": {"adapters": "only"}},
        "export.adapters: only writes adapters, and those of a 4-bit base answer otherwise beside the whole one; say",
    ),
}


def faults(folder, values):
    file = folder / "job.yaml"
    file.write_text(text(changed(TRAIN, **values)))
    try:
        load_files([file])
    except SpecError as error:
        return [str(fault) for fault in error.faults]
    return []


@pytest.mark.parametrize(("values", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_one_line(tmp_path, values, said):
    found = faults(tmp_path, values)
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize("values", [FOUR, EIGHT], ids=["four bits", "eight bits"])
def test_what_can_be_is_no_fault(tmp_path, values):
    assert faults(tmp_path, values) == []


def test_only_what_needs_the_library_asks_for_it():
    assert quantization.keys_of(None, AdamW(learning_rate=0.1)) == ()
    assert quantization.keys_of(Lora(), AdamW(learning_rate=0.1)) == ()
    asked = quantization.keys_of(Lora(quantize_base="nf4"), AdamW8bit(learning_rate=0.1))
    assert asked == ("lora.quantize_base: nf4", "optimizer.kind: adamw_8bit")
