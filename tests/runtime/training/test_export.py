"""An export is compared with what was trained: faults of an export x the settings people use, and what is written."""

import dataclasses
import json
import re
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from process_group import alone
from task_cases import CASES, packed_case, tuned_case
from trainshed.errors import PlatformError
from trainshed.record.storage import Storage
from trainshed.runtime.training import engines
from trainshed.runtime.training.agreement import SAMPLES, TOLERANCE, agreement
from trainshed.runtime.training.export import Trained
from trainshed.runtime.training.host import World
from trainshed.runtime.training.loop.shares import batch_of
from trainshed.runtime.training.loop.state import Splits
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.engines import Ddp, DeepSpeed, Fsdp
from trainshed.spec.training.export import Export
from trainshed.spec.training.models import Gpt2, Llama
from trainshed.spec.training.optimizers import AdamW

ALONE = World(0, 1, torch.device("cpu"))
LORA = Lora(rank=4, alpha=8, target_modules="all-linear")
SHAPE = {"layers": 2, "heads": 2, "width": 64}
TIED = {**SHAPE, "tie_embeddings": True}
STEPS = 12


@pytest.fixture(scope="module")
def group():
    """A process group that this process is alone in."""
    with alone():
        yield


def under(case, engine, *, precision="fp32", rate=1e-3, **more):
    """A case trained by another engine."""
    changes = {"engine": engine, "precision": precision, "optimizer": AdamW(learning_rate=rate), **more}
    return dataclasses.replace(case, training=case.training.model_copy(update=changes))


def trained(case, *, steps=STEPS):
    """A case after some steps of its engine, and the engine."""
    task = case.task
    torch.manual_seed(0)
    make_optimizer = partial(build_optimizer, case.training.optimizer)
    in_parts = getattr(task, "make_in_parts", None)
    engine = engines.build(case.training, task.make_model, make_optimizer, ALONE.device, make_in_parts=in_parts)
    for step in range(steps):
        batch = batch_of(task, case.samples, np.arange(8) + 8 * (step % 6), (0,), ALONE)
        engine.backward(task.loss(engine.forward, batch, label_smoothing=0.0) / task.weight(batch))
        engine.step(case.training.optimizer.learning_rate)
    return Trained(case.training, task, case.facts, Splits(case.samples, case.samples), ALONE), engine


class Spoilt:
    """A task whose export is spoilt: by what is done to its weights before, or to its files after."""

    def __init__(self, task, damage):
        self._task, self._damage = task, damage

    def __getattr__(self, name):
        return getattr(self._task, name)

    def export(self, state, folder):
        state = {name: tensor.clone() for name, tensor in state.items()}
        self._damage.of_state(state)
        self._task.export(state, folder)
        weights = load_file(folder / "model.safetensors")
        self._damage.of_files(weights)
        save_file({n: t.contiguous() for n, t in weights.items()}, folder / "model.safetensors", {"format": "pt"})
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | self._damage.config))


@dataclasses.dataclass
class Damage:
    of_state: object = lambda state: None
    of_files: object = lambda weights: None
    config: dict = dataclasses.field(default_factory=dict)


def unmerged(state):
    for name, tensor in state.items():
        if "lora_B" in name:
            tensor.zero_()


def merged_twice(state):
    for name, tensor in state.items():
        if "lora_B" in name:
            tensor.mul_(2)


def square(weights):
    """The name of a matrix that is square, within a layer."""
    return next(n for n, t in weights.items() if t.dim() == 2 and t.shape[0] == t.shape[1] and "0." in n)


def transposed(weights):
    weights[square(weights)] = weights[square(weights)].T.contiguous()


def dropped(weights):
    del weights[square(weights)]


def zeroed(weights):
    weights[square(weights)].zero_()


def rounded_to(dtype):
    def round_(weights):
        for name, tensor in weights.items():
            weights[name] = tensor.to(dtype).to(tensor.dtype)

    return round_


def untied(weights):
    """The head is another than the embeddings: what a model made anew would begin with."""
    name = next(n for n in weights if n.endswith(("embed_tokens.weight", "wte.weight")))
    torch.manual_seed(5)
    weights["lm_head.weight"] = (0.02 * torch.randn(weights[name].shape)).to(weights[name].dtype)


FAULTS = {
    "a merge that is left out": Damage(of_state=unmerged),
    "a merge done twice": Damage(of_state=merged_twice),
    "a transposed tensor": Damage(of_files=transposed),
    "a dropped tensor": Damage(of_files=dropped),
    "a tensor of zeros": Damage(of_files=zeroed),
    "rounded to 8 bits": Damage(of_files=rounded_to(torch.float8_e4m3fn)),
    "rounded to bf16": Damage(of_files=rounded_to(torch.bfloat16)),
    "an untied head": Damage(of_files=untied, config={"tie_word_embeddings": False}),
}
SETTINGS = {
    "fresh": lambda at: under(packed_case(at, Gpt2(**SHAPE)), Ddp()),
    "fresh-bf16": lambda at: under(packed_case(at, Gpt2(**SHAPE)), Fsdp(), precision="bf16", rate=1e-2),
    "existing-dropout": lambda at: under(tuned_case(at, Gpt2(**SHAPE, dropout=0.1)), Fsdp()),
    "existing-1e-5": lambda at: under(tuned_case(at, Gpt2(**SHAPE)), Ddp(), rate=1e-5),
    "lora-1e-5": lambda at: under(tuned_case(at, Llama(**TIED), lora=LORA), Ddp(), rate=1e-5),
    "lora-1e-3": lambda at: under(tuned_case(at, Llama(**TIED), lora=LORA), Fsdp()),
    "lora-bf16": lambda at: under(tuned_case(at, Llama(**TIED), lora=LORA), Fsdp(), precision="bf16", rate=1e-2),
}
OF_A_MERGE = ("a merge that is left out", "a merge done twice")
OF_ROUNDING = ("rounded to 8 bits", "rounded to bf16")


def cells():
    """Each fault under each setting in which it is one: bf16 is rounded itself, and a merge needs adapters."""
    for setting in SETTINGS:
        for fault in FAULTS:
            merges = fault in OF_A_MERGE and "lora" not in setting
            if not merges and not (fault in OF_ROUNDING and "bf16" in setting):
                yield setting, fault


@pytest.fixture(scope="module")
def ended(tmp_path_factory, group):
    """Trainings at their end by setting, each made once: all that is exported, the weights, and what they say."""
    made = {}

    def of(setting):
        if setting not in made:
            one, engine = trained(SETTINGS[setting](tmp_path_factory.mktemp("ended") / "tokenizer"))
            made[setting] = one, engine.export(), one.answers(engine)
        return made[setting]

    return of


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_whole_export_says_what_was_trained_and_that_is_written(setting, ended, tmp_path):
    one, state, said = ended(setting)
    written = one.write(state, said, Storage.open(tmp_path), "run")
    found = written.export["model"].agreement
    assert found.samples == SAMPLES - 2
    assert found.measure == "log-probability per token"
    assert found.difference <= found.tolerance / (3 if "bf16" in setting else 10)
    manifest = json.loads((tmp_path / "run" / "model" / "manifest.json").read_text())
    assert manifest["export"] == written.export["model"].as_json()
    assert manifest["files"]["model.safetensors"] == written.metrics["model_sha256"]


@pytest.mark.parametrize(("setting", "fault"), cells())
def test_a_fault_of_an_export_is_refused_and_nothing_is_written(setting, fault, ended, tmp_path):
    one, state, said = ended(setting)
    spoilt = dataclasses.replace(one, task=Spoilt(one.task, FAULTS[fault]))
    with pytest.raises(PlatformError) as caught:
        spoilt.write(state, said, Storage.open(tmp_path), "run")
    assert not (tmp_path / "run").exists()
    if fault == "a dropped tensor":
        assert "1 of the model's weights are missing in its files" in str(caught.value)
    else:
        assert re.search(
            r"sample \d+ of the validation split \('.+'\) the log-probability per token is -", str(caught.value)
        )
        assert re.search(r"[\d.e-]+ apart, and [\d.]+ is allowed", str(caught.value))


@pytest.mark.parametrize("name", CASES)
def test_every_task_s_export_says_what_was_trained(name, group, tmp_path):
    case = under(CASES[name](tmp_path / "tokenizer"), Ddp())
    one, engine = trained(case, steps=3)
    said = one.answers(engine)
    found = one.write(engine.export(), said, Storage.open(tmp_path), "run").export["model"].agreement
    assert found.measure == (
        "log-probability per token" if one.task.unit == "token" or case.training.task.decodes else "logits"
    )
    assert found.difference <= TOLERANCE / 10
    assert found.trained == pytest.approx(found.exported, rel=1e-4)


@pytest.mark.parametrize("engine", [Ddp(), DeepSpeed(zero_stage=2)], ids=["ddp", "zero-2"])
def test_a_recurrent_network_in_bf16_is_evaluated_and_exported(engine, group, tmp_path, monkeypatch):
    """On CPUs torch has no inference of an LSTM under autocast to bf16: the first validation would end the training."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    case = under(CASES["lstm_classifier"](tmp_path / "tokenizer"), engine, precision="bf16")
    one, stepped = trained(case, steps=3)
    found = one.write(stepped.export(), one.answers(stepped), Storage.open(tmp_path), "run").export["model"].agreement
    assert found.difference <= found.tolerance


@pytest.mark.parametrize("engine", [Fsdp(), DeepSpeed(zero_stage=3)], ids=["fsdp", "zero-3"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_adapters_on_a_fresh_model_are_trained_by_engines_that_split(engine, precision, group, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")  # DeepSpeed asks for it
    case = under(CASES["text_classification-lora"](tmp_path / "tokenizer"), engine, precision=precision)
    one, stepped = trained(case, steps=3)
    said = one.answers(stepped)
    found = one.write(stepped.export(), said, Storage.open(tmp_path), "run").export["model"].agreement
    assert found.difference <= found.tolerance


@pytest.mark.parametrize("name", ["text_classification", "multi_label", "regression", "image_classification"])
def test_a_wrong_head_of_a_classifier_is_refused(name, group, tmp_path):
    one, engine = trained(under(CASES[name](tmp_path / "tokenizer"), Ddp()), steps=3)
    damage = Damage(of_files=lambda weights: weights["classifier.weight"].neg_())
    spoilt = dataclasses.replace(one, task=Spoilt(one.task, damage))
    with pytest.raises(PlatformError, match=r"the logits is .* apart, and 0.0001 is allowed"):
        spoilt.write(engine.export(), one.answers(engine), Storage.open(tmp_path), "run")


@pytest.mark.parametrize("adapters", ["only", "both"])
def test_adapters_by_themselves_are_compared_too(adapters, group, tmp_path):
    case = under(tuned_case(tmp_path / "tokenizer", Llama(**TIED), lora=LORA), Ddp(), export=Export(adapters=adapters))
    one, engine = trained(case)
    said = one.answers(engine)
    written = one.write(engine.export(), said, Storage.open(tmp_path), "run")
    assert set(written.export) == {"adapter", "model"} if adapters == "both" else {"adapter"}
    assert written.export["adapter"].agreement.difference <= TOLERANCE / 10
    folder = tmp_path / "run" / "adapter"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= set(manifest["files"])
    assert (tmp_path / "run" / "model").exists() == (adapters == "both")
    whole = written.export.get("model")
    assert whole is None or not (tmp_path / "run" / "model" / "adapter_config.json").exists()


def test_adapters_that_are_not_those_trained_are_refused(group, tmp_path):
    case = under(tuned_case(tmp_path / "tokenizer", Llama(**TIED), lora=LORA), Ddp(), export=Export(adapters="only"))
    one, engine = trained(case)
    said = one.answers(engine)
    state = {name: tensor.clone() for name, tensor in engine.export().items()}
    unmerged(state)
    with pytest.raises(PlatformError, match="the exported adapter does not say what the trained one says"):
        one.write(state, said, Storage.open(tmp_path), "run")
    assert not (tmp_path / "run").exists()


def test_an_export_in_bf16_of_a_training_in_fp32_is_compared_as_closely_as_bf16_can_be(group, tmp_path):
    case = under(packed_case(tmp_path / "tokenizer", Gpt2(**SHAPE)), Ddp(), export=Export(dtype="bf16"))
    one, engine = trained(case)
    said = one.answers(engine)
    written = one.write(engine.export(), said, Storage.open(tmp_path), "run").export["model"]
    assert written.dtype == "bf16"
    assert TOLERANCE < written.agreement.difference < written.agreement.tolerance < 0.03


# The figures


def table(*rows):
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize(
    ("units", "half", "allowed"),
    [(1, False, 1e-4), (100, False, 1e-4), (32, True, 0.02), (500, True, 0.02), (8, True, 0.04)],
)
def test_a_few_tokens_in_half_precision_may_differ_more(units, half, allowed):
    found = agreement(table([-2.0, units]), table([-2.0, units]), of_tokens=True, half=half)
    assert (found.difference, found.tolerance) == (0.0, pytest.approx(allowed))


def test_the_sample_that_counts_most_is_named():
    trained_said, exported_said = table([-2.0, 64], [-3.0, 64], [-1.0, 4]), table([-2.01, 64], [-3.03, 64], [-1.04, 4])
    found = agreement(trained_said, exported_said, of_tokens=True, half=True)
    assert (found.sample, found.trained, found.exported) == (1, -3.0, -3.03)


def test_logits_are_compared_in_parts_of_the_largest():
    found = agreement(table([1000.0, -3.0, 1]), table([1000.01, -3.0, 1]), of_tokens=False, half=False)
    assert found.difference == pytest.approx(1e-5)


@pytest.mark.parametrize(
    ("was", "now", "apart"), [("nan", "nan", 0.0), ("nan", 1.0, torch.inf), (1.0, "inf", torch.inf)]
)
def test_what_is_no_number_agrees_with_itself_alone(was, now, apart):
    found = agreement(table([float(was), 8]), table([float(now), 8]), of_tokens=True, half=False)
    assert found.difference == apart
