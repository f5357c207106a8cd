"""Frozen weights in 4 bits and in half precision, moments in 8 bits: as in the library's script, and as they go out."""

import dataclasses
import sys
from functools import partial

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from task_cases import exported, packed_case, training
from trainshed.errors import PlatformError
from trainshed.record.storage import Storage
from trainshed.runtime.training import engines
from trainshed.runtime.training.export import Trained
from trainshed.runtime.training.host import World
from trainshed.runtime.training.loop.state import Splits
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.spec.plan.model import cost_of
from trainshed.spec.plan.states import states
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.engines import Ddp, DdpLayout
from trainshed.spec.training.export import Export
from trainshed.spec.training.models import DataSizes, Gpt2, Llama, Qwen2
from trainshed.spec.training.optimizers import AdamW, AdamW8bit
from trainshed.spec.training.tasks import CausalLm
from trainshed.spec.training.workers import Workers

pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install 'trainshed[bitsandbytes]'")

ALONE = World(0, 1, torch.device("cpu"))
SHAPE = {"layers": 2, "heads": 2, "width": 64}
LORA = {"rank": 4, "alpha": 8, "target_modules": ("q_proj", "v_proj", "down_proj")}
STEPS = 8
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


def tuned(folder, *, model=None, stored="fp32", **more):
    """Adapters beside an existing model in files of some type. The library works on CPUs as it does on GPUs; a job that
    says so is refused, so the settings are given past their validation."""
    first = packed_case(folder / "tokenizer", model or Llama(**SHAPE), export=Export(dtype=stored))
    case = training(CausalLm(), exported(first, folder / "tokenizer"))
    changes = {"engine": Ddp(), "workers": Workers(gpus=1, per_device_batch_size=8), **more}
    return dataclasses.replace(first, training=case.model_copy(update=changes))


def engine_of(case):
    task = case.task
    torch.manual_seed(0)
    make_optimizer = partial(build_optimizer, case.training.optimizer)
    in_parts = task.make_in_parts
    return engines.build(case.training, task.make_model, make_optimizer, ALONE.device, make_in_parts=in_parts)


def batch_of(case, step):
    return case.task.batch(case.samples.take(np.arange(8) + 8 * (step % 6)), keys=[])


def losses(case, engine):
    """Of some steps at a constant rate."""
    made = []
    for step in range(STEPS):
        batch = batch_of(case, step)
        loss = case.task.loss(engine.forward, batch, label_smoothing=0.0) / case.task.weight(batch)
        engine.backward(loss)
        engine.step(case.training.optimizer.learning_rate)
        made.append(float(loss.detach()))
    return made


def script(case, engine, *, four_bits, dtype=torch.float32):
    """The losses of the script that people write with transformers, peft and bitsandbytes, adapters begun alike."""
    half = {"bf16": torch.bfloat16}.get(case.training.precision)
    asked = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=half or torch.float32,
    )
    more = {"quantization_config": asked, "device_map": {"": "cpu"}} if four_bits else {}
    model = AutoModelForCausalLM.from_pretrained(case.training.model.name_or_path, dtype=dtype, **more)
    names = list(LORA["target_modules"])
    model = get_peft_model(model, LoraConfig(r=LORA["rank"], lora_alpha=LORA["alpha"], target_modules=names))
    own = dict(engine.model.named_parameters())
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert set(trained) == {name for name, weight in own.items() if weight.requires_grad}
    with torch.no_grad():
        for name, weight in trained.items():
            weight.copy_(own[name])
    model.train()
    optimizer = build_optimizer(case.training.optimizer, model)
    made = []
    for step in range(STEPS):
        with torch.autocast("cpu", half, enabled=half is not None):
            loss = case.task.loss(model, batch_of(case, step), label_smoothing=0.0)
        loss = loss / case.task.weight(batch_of(case, step))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.values(), case.training.regularization.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        made.append(float(loss.detach()))
    return made


@pytest.mark.parametrize("model", [Llama(**SHAPE), Qwen2(**SHAPE, tie_embeddings=False)], ids=lambda one: one.kind)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_adapters_beside_four_bits_learn_as_in_the_library_s_own_script(model, precision, tmp_path):
    lora = Lora(**LORA, quantize_base="nf4")
    case = tuned(tmp_path, model=model, lora=lora, precision=precision, optimizer=AdamW(learning_rate=0.01))
    engine = engine_of(case)
    expected = script(case, engine, four_bits=True)
    found = losses(case, engine)
    assert found == pytest.approx(expected, rel=1e-6 if precision == "fp32" else 2e-3)
    assert found[-1] < found[0] - 0.02
    assert expected != pytest.approx(script(case, engine_of(case), four_bits=False), rel=1e-5), "nothing was in 4 bits"


@pytest.mark.parametrize("stored", ["fp32", "bf16"])
def test_frozen_weights_stay_in_the_half_precision_of_their_files(stored, tmp_path):
    case = tuned(tmp_path, stored=stored, lora=Lora(**LORA), precision="bf16", optimizer=AdamW(learning_rate=0.01))
    engine = engine_of(case)
    types = {weight.dtype for weight in engine.model.parameters() if not weight.requires_grad}
    assert {weight.dtype for weight in engine.model.parameters() if weight.requires_grad} == {torch.float32}
    dtype = getattr(torch, DTYPES[stored])
    assert types == {dtype}
    expected = script(case, engine, four_bits=False, dtype=dtype)
    assert losses(case, engine) == expected


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "fp32"), ("bf16", "fp32"), ("bf16", "bf16")])
def test_what_goes_out_is_the_base_as_4_bits_say_it_with_the_adapters_merged(precision, dtype, tmp_path):
    lora = Lora(**LORA, quantize_base="nf4")
    more = {"export": Export(dtype=dtype), "optimizer": AdamW(learning_rate=0.05)}
    case = tuned(tmp_path, stored=dtype, lora=lora, precision=precision, **more)
    engine = engine_of(case)
    losses(case, engine)
    trained = Trained(case.training, case.task, case.facts, Splits(case.samples, case.samples), ALONE)
    said = trained.answers(engine)
    if precision == "fp32":
        with pytest.raises(PlatformError, match="the exported model does not say what the trained one says"):
            trained.write(with_the_whole_base(engine.export(), tmp_path), said, Storage.open(tmp_path), "run")
    facts = trained.write(engine.export(), said, Storage.open(tmp_path), "run").export["model"]
    assert facts.dtype == dtype
    assert facts.agreement.difference <= facts.agreement.tolerance / (20 if precision == "fp32" else 1)
    out, before = (
        load_file(tmp_path / "run/model/model.safetensors"),
        load_file(tmp_path / "existing/model.safetensors"),
    )
    assert set(out) == set(before)
    changed = {name for name in before if not torch.equal(out[name].float(), before[name].float())}
    assert changed == {name for name in before if ".layers." in name and "norm" not in name}
    state = engine.export()
    place = "base_model.model.model.layers.0.self_attn.q_proj"
    base, down, up = (state[f"{place}.{part}.weight"] for part in ("base_layer", "lora_A.default", "lora_B.default"))
    assert len(torch.unique(base.float()[0, :64])) <= 16
    merged = base.float() + up @ down * (LORA["alpha"] / LORA["rank"])
    torch.testing.assert_close(out["model.layers.0.self_attn.q_proj.weight"], merged.to(getattr(torch, DTYPES[dtype])))


def with_the_whole_base(state, folder):
    """The fault of a script that merges its adapters into the files that it has read, and not into what it trained."""
    files = load_file(folder / "existing/model.safetensors")
    plain = {name: name.removeprefix("base_model.model.").replace(".base_layer", "") for name in state}
    return {name: files.get(plain[name], tensor).to(torch.float32) for name, tensor in state.items()}


@pytest.mark.parametrize(("quantize_base", "stored"), [("nf4", "fp32"), ("nf4", "bf16"), ("none", "bf16")])
def test_the_plan_counts_the_bytes_of_the_base(quantize_base, stored, tmp_path):
    lora = Lora(rank=4, alpha=8, target_modules="all-linear", quantize_base=quantize_base)
    case = tuned(tmp_path, stored=stored, lora=lora, precision="bf16")
    planned = states(case.training, cost_of(case.training, DataSizes(vocab_size=300, context=16)), DdpLayout())
    engine = engine_of(case)
    held = sum(weight.numel() * weight.element_size() for weight in engine.held().parameters)
    scales = sum(_scales(weight) for weight in engine.model.parameters())
    assert planned.parameters == pytest.approx(held + scales, rel=0.02)
    assert planned.parameters < 0.75 * 4 * sum(engine.shape_of(one).numel() for one in engine.model.parameters())


def _scales(weight):
    state = getattr(weight, "quant_state", None)
    return 0 if state is None else state.absmax.numel() + 4 * state.state2.absmax.numel()


def test_moments_in_8_bits_are_a_byte_each_and_learn_as_in_32(tmp_path):
    found = {}
    for optimizer in (AdamW(learning_rate=0.01), AdamW8bit(learning_rate=0.01)):
        (tmp_path / optimizer.kind).mkdir()
        lora = Lora(rank=32, alpha=32, target_modules="all-linear")
        case = tuned(
            tmp_path / optimizer.kind, model=Llama(layers=2, heads=2, width=128), lora=lora, optimizer=optimizer
        )
        engine = engine_of(case)
        found[optimizer.kind] = losses(case, engine)
    large = [piece for piece in engine.pieces() if len(piece) >= 4096]
    assert large
    assert all(engine.state[piece.owner]["state1"].dtype == torch.uint8 for piece in large)
    learnt = found["adamw"][0] - found["adamw"][-1]
    assert found["adamw_8bit"] == pytest.approx(found["adamw"], abs=0.1 * learnt)
    assert found["adamw_8bit"] != found["adamw"]


def test_steps_that_a_checkpoint_gave_back_are_whole_numbers_again():
    """The library hands them to its kernels for GPUs as C integers, which no tensor becomes."""
    weight = torch.nn.Parameter(torch.randn(64, 128))
    optimizer = build_optimizer(AdamW8bit(learning_rate=0.01), torch.nn.ParameterList([weight]))
    for count in (1, 8):
        weight.grad = torch.randn_like(weight)
        optimizer.step()
        assert type(optimizer.state[weight]["step"]) is int
        assert optimizer.state[weight]["step"] == count
        optimizer.state[weight]["step"] = torch.tensor(7.0)


def test_a_model_of_other_layers_is_refused_with_the_reason(tmp_path):
    lora = Lora(rank=4, target_modules=("c_attn",), quantize_base="nf4")
    case = tuned(tmp_path, model=Gpt2(**SHAPE), lora=lora, precision="bf16")
    with pytest.raises(PlatformError, match=r"lora\.quantize_base: GPT2LMHeadModel has no linear layers to hold in 4"):
        engine_of(case)


@pytest.mark.parametrize(
    "asked", [{"lora": Lora(**LORA, quantize_base="nf4")}, {"optimizer": AdamW8bit(learning_rate=0.01)}], ids=str
)
def test_without_the_library_a_worker_says_what_to_install(asked, tmp_path, monkeypatch):
    case = tuned(tmp_path, **{"lora": Lora(**LORA), **asked})
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # Python's own word for a module that cannot be imported
    with pytest.raises(PlatformError, match=r"bitsandbytes is not installed on the cluster; install trainshed\["):
        engine_of(case)
