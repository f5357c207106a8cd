"""What a task refuses before its first step, each with one line that says what to do; and tasks of one's own."""

import dataclasses
import sys

import numpy as np
import pytest
import torch

from trainshed.errors import PlatformError
from trainshed.runtime import tasks
from trainshed.runtime.data import tokenizer
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.models import Config, Gpt2, Pretrained
from trainshed.spec.training.optimizers import AdamW
from trainshed.spec.training.tasks import CausalLm, Custom
from trainshed.spec.training.train import Training

GPT = Gpt2(layers=1, heads=2, width=16)
MINE = """
import torch

class Mine:
    unit = "sample"
    def __init__(self, training, facts):
        self.width = training.task.settings["width"]
    def make_model(self):
        return torch.nn.Linear(self.width, 1)
    def batch(self, rows, *, keys): ...
    def weight(self, batch): ...
    def loss(self, forward, batch, *, label_smoothing): ...
    def meter(self): ...
    def export(self, state, folder): ...
    def examine(self, folder, samples): ...
    def predict(self, model, rows): ...

class Half:
    unit = "sample"
    def make_model(self): ...
"""


def facts(folder, texts=("the cat sat on the mat",)):
    job = PrepareJob.model_validate(
        {
            "kind": "prepare",
            "name": "a",
            "source": {"kind": "text_files", "path": "x"},
            "tokenizer": {"kind": "characters"},
            "pack": {"block_size": 16},
        }
    )
    made = tokenizer.make(job, texts, folder)
    return tasks.DataFacts(made.get_vocab_size(), 16, folder)


def training(model=GPT, task=None, **more):
    rate = AdamW(learning_rate=0.001)
    return Training(
        task=task or CausalLm(), model=model, data="run://a", optimizer=rate, global_batch_size=8, steps=1, **more
    )


@pytest.fixture
def exported(tmp_path):
    """A folder with a small model and the facts of the data it was made for."""
    known = facts(tmp_path / "tokenizer")
    task = tasks.build(training(), known)
    (tmp_path / "model").mkdir()
    task.export(task.make_model().state_dict(), tmp_path / "model")
    return tmp_path / "model", known


def test_frozen_parameters_are_not_trained(tmp_path):
    model = tasks.build(training(freeze=("transformer.wte.*", "*.ln_*")), facts(tmp_path / "t")).make_model()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert "transformer.wte.weight" in frozen
    assert "transformer.h.0.ln_1.weight" in frozen
    assert "transformer.h.0.attn.c_attn.weight" not in frozen


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (("transformer.wpe.wight",), "did you mean 'transformer.wpe.weight'?"),
        (("*",), "everything is frozen and nothing would be learnt"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_an_error(patterns, said, tmp_path):
    with pytest.raises(PlatformError) as caught:
        tasks.build(training(freeze=patterns), facts(tmp_path / "t")).make_model()
    assert said in str(caught.value)


def test_adapters_leave_the_weights_alone_and_are_few(exported):
    folder, known = exported
    before = {k: v.clone() for k, v in tasks.build(training(), known).make_model().state_dict().items()}
    adapted = training(Pretrained(name_or_path=str(folder)), lora=Lora(rank=2))
    model = tasks.build(adapted, known).make_model()
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) < sum(v.numel() for v in before.values()) / 10


def test_layers_that_are_not_there_get_no_adapters(tmp_path):
    wrong = training(lora=Lora(target_modules=("no_such_layer",)))
    with pytest.raises(PlatformError, match=r"lora\.target_modules: .*no_such_layer"):
        tasks.build(wrong, facts(tmp_path / "t")).make_model()


def test_existing_weights_are_taken(exported):
    folder, known = exported
    first = tasks.build(training(Pretrained(name_or_path=str(folder))), known).make_model()
    torch.manual_seed(1)
    second = tasks.build(training(Pretrained(name_or_path=str(folder))), known).make_model()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert {parameter.dtype for parameter in first.parameters()} == {torch.float32}


def test_a_model_of_another_vocabulary_is_refused(exported, tmp_path):
    folder, _ = exported
    for texts in (["abcdefghijklmnopqrstuvwxyz"], ["THE CAT SAT"]):
        with pytest.raises(PlatformError, match=r"prepare it with `tokenizer: \{kind: pretrained, name_or_path: /"):
            tasks.build(training(Pretrained(name_or_path=str(folder))), facts(tmp_path / texts[0][:3], texts))


def test_weights_in_other_formats_are_not_loaded(exported):
    folder, known = exported
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(PlatformError, match=r"no model.safetensors and no"):
        tasks.build(training(Pretrained(name_or_path=str(folder))), known).make_model()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PlatformError, match="/no/such/model: no such directory on this node"):
        tasks.build(training(Pretrained(name_or_path="/no/such/model")), facts(tmp_path / "t"))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Config(model_type="mistrl"), "transformers knows no 'mistrl'"),
        (Config(model_type="mistral", settings={"hiden_size": 8}), "did you mean 'hidden_size'?"),
        (Config(model_type="gpt2", settings={"n_positions": 8}), "it takes 8 tokens, the data's samples have up to 16"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_an_error(model, said, tmp_path):
    with pytest.raises(PlatformError) as caught:
        tasks.build(training(model), facts(tmp_path / "t"))
    assert said in str(caught.value)


def test_a_context_must_hold_a_sample_and_its_target(tmp_path):
    known = dataclasses.replace(facts(tmp_path / "t"), max_target_tokens=8)
    assert tasks.build(training(), known).make_model().config.n_positions == 24
    with pytest.raises(PlatformError, match="takes 16 tokens, a sample and its target have up to 24"):
        tasks.build(training(Gpt2(layers=1, heads=2, width=16, context=16)), known)


@pytest.fixture
def my_module(tmp_path, monkeypatch):
    (tmp_path / "my_tasks_for_a_test.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "my_tasks_for_a_test"
    sys.modules.pop("my_tasks_for_a_test", None)


def test_a_task_of_ones_own_is_loaded_with_its_settings(my_module, tmp_path):
    task = Custom(path=f"{my_module}:Mine", settings={"width": 3})
    made = tasks.build(training(task=task), facts(tmp_path / "t"))
    assert made.make_model().in_features == 3


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("my_tasks_for_a_test:Half", "lacks batch, examine, export, loss, meter, predict, weight"),
        ("my_tasks_for_a_test:None_such", "has no class 'None_such'"),
        ("no_module_of_this_name:Mine", "lies beside the job file"),
    ],
)
def test_a_task_that_lacks_something_is_refused(path, said, my_module, tmp_path):
    with pytest.raises(PlatformError) as caught:
        tasks.build(training(task=Custom(path=path)), facts(tmp_path / "t"))
    assert said in str(caught.value)


def test_packed_blocks_are_taken_without_padding_and_without_a_mask(tmp_path):
    task = tasks.build(training(), facts(tmp_path / "t"))
    batch = task.batch({"tokens": np.arange(32).reshape(2, 16) % 5}, keys=[(0, 0), (0, 1)])
    assert list(batch) == ["input_ids"]
    assert task.weight(batch) == 30
