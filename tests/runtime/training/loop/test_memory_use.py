"""What a worker holds is what the plan says it will, and it is said once."""

import json
from functools import partial

import pytest
import torch

from forking import run_workers
from states_worker import count_states
from trainshed.record.events import to_nobody
from trainshed.runtime.training import engines
from trainshed.runtime.training.host import World
from trainshed.runtime.training.loop.memory_use import PlanCheck, state_bytes
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.spec.training.engines import Ddp, Fsdp
from trainshed.spec.training.models import Gpt2
from trainshed.spec.training.optimizers import AdamW, Sgd
from trainshed.spec.training.train import Training
from trainshed.spec.training.workers import Workers

CPU = torch.device("cpu")
DDP = Ddp()


def trained(optimizer, sink=to_nobody, spec=DDP):
    training = Training(
        model=Gpt2(layers=1, heads=1, width=4),
        data="run://text",
        optimizer=optimizer,
        engine=spec,
        workers=Workers(count=1, per_device_batch_size=1),
        global_batch_size=2,
        steps=3,
    )

    def make_model():
        model = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 1, bias=False))
        model[1].weight.requires_grad = False
        return model

    engine = engines.build(training, make_model, partial(build_optimizer, optimizer), CPU)
    check = PlanCheck(training, engine, World(0, 1, CPU), sink)
    for _ in range(training.steps):
        for _ in range(2):
            engine.backward(engine.model(torch.randn(4, 20)).sum())
            check.passed(2)
        engine.step(0.1)
        check.stepped()
    return engine, check


@pytest.mark.parametrize(
    ("optimizer", "moments"), [(AdamW(learning_rate=0.1), 2), (Sgd(learning_rate=0.1, momentum=0.0), 0)]
)
@pytest.mark.parametrize("spec", [Ddp(), Fsdp(), Fsdp(reduce_each_pass=False)], ids=repr)
def test_frozen_weights_have_no_gradients_and_no_moments(spec, optimizer, moments, group_of_one):
    engine, check = trained(optimizer, spec=spec)
    counted = check.facts["predicted"]
    assert counted == {"parameters": 4 * 660, "gradients": 4 * 630, "optimizer": 4 * 630 * moments}
    assert check.facts["ratio"] == pytest.approx(1.0, abs=0.01)
    held, measured = state_bytes(engine), check.facts["measured"]  # fsdp frees its gradients when it has stepped
    assert (held.parameters, held.optimizer) == (measured["parameters"], measured["optimizer"])


def test_a_storage_is_counted_once():
    engine, _ = trained(AdamW(learning_rate=0.1))
    engine.model[0].extra = torch.nn.Parameter(engine.model[0].weight.data)
    assert state_bytes(engine).parameters == 4 * 660


def test_the_comparison_is_told_once():
    said = []
    trained(AdamW(learning_rate=0.1), sink=lambda event: said.append((event.event, event.ratio)))
    assert [event for event, _ in said] == ["memory"]


@pytest.mark.slow
def test_states_that_are_split_are_those_of_the_plan(tmp_path):
    """One shape in the four stages and under fsdp on two gloo workers, as benchmarks/memory.py measures them."""
    run_workers(count_states, 2, tmp_path, logs=tmp_path)
    found = [(one["measured_bytes"], one["ratio"]) for one in json.loads((tmp_path / "facts.json").read_text())]
    *measured, split, whole_gradients = (one for one, _ in found)
    assert measured == sorted(set(measured), reverse=True)
    assert len(measured) == 4
    assert split < min(measured[-1], whole_gradients)
    assert all(0.95 <= ratio <= 1.10 for _, ratio in found)
