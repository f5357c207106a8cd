"""What engines do that one worker shows by itself."""

from functools import partial

import pytest
import torch
from torch.distributed.tensor import DTensor

from tiny_model import engine_step, make_model, plain_steps, training
from trainshed.errors import PlatformError
from trainshed.runtime.tasks.weight_roles import layers_of
from trainshed.runtime.training import engines
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.runtime.training.optim.regularization import apply
from trainshed.spec.training.engines import Ddp, Fsdp
from trainshed.spec.training.optimizers import AdamW
from trainshed.spec.training.workers import Workers

ADAMW = AdamW(learning_rate=0.01)
ENGINES = [Ddp(), Fsdp(), Fsdp(reshard_after_forward=False, reduce_each_pass=False)]

pytestmark = pytest.mark.usefixtures("group_of_one")


def one_worker(spec):
    """Of four passes a step."""
    workers = Workers(count=1, per_device_batch_size=2)
    return training(ADAMW, engine=spec).model_copy(update={"workers": workers})


def engine_of(case, make=make_model, **more):
    return engines.build(case, make, partial(build_optimizer, case.optimizer), torch.device("cpu"), **more)


def losses(case, engine):
    regularizers = apply(case.regularization, engine.model, engine.optimizer, lambda: 0)
    return [float(engine_step(case, engine, regularizers, step)) / case.global_batch_size for step in range(case.steps)]


@pytest.mark.parametrize("spec", ENGINES, ids=repr)
def test_one_worker_trains_like_plain_torch(spec):
    case = one_worker(spec)
    assert losses(case, engine_of(case)) == pytest.approx([loss for *_, loss in plain_steps(case)], rel=1e-5)


@pytest.mark.parametrize("spec", ENGINES, ids=repr)
def test_what_an_interrupted_step_had_added_is_dropped(spec):
    case = one_worker(spec)
    engine = engine_of(case)
    engine.backward(engine.forward(tokens=torch.zeros(2, 3, dtype=torch.long)).sum())
    engine.refresh()
    assert losses(case, engine) == losses(case, engine_of(case))


@pytest.mark.parametrize("spec", ENGINES, ids=repr)
def test_the_shapes_of_parameters_are_those_of_the_model(spec):
    engine = engine_of(one_worker(spec))
    shapes = [engine.shape_of(parameter) for parameter in engine.model.parameters()]
    assert shapes == [parameter.shape for parameter in make_model().parameters()]
    assert engines.parameter_count(engine) == sum(parameter.numel() for parameter in make_model().parameters())


def test_fsdp_splits_each_layer_when_it_is_made_and_all_else_at_the_end():
    split = []

    def make_in_parts(place, dtype):
        model = make_model()
        for _, layer in layers_of(model):
            place(layer, layer=True)
            split.append([isinstance(parameter, DTensor) for parameter in model.parameters()])
        place(model.head, layer=False)
        place(model, layer=False)
        split.append([isinstance(parameter, DTensor) for parameter in model.parameters()])
        return model

    engine = engine_of(one_worker(Fsdp()), make_in_parts=make_in_parts)
    of_a_layer = len(list(make_model().layers[0].parameters()))
    assert [sum(each) for each in split] == [of_a_layer, 2 * of_a_layer, 2 * of_a_layer]
    assert all(isinstance(parameter, DTensor) for parameter in engine.model.parameters())


def test_fsdp_refuses_a_recurrent_network():
    model = make_model()
    model.recurrent = torch.nn.LSTM(4, 4)
    with pytest.raises(PlatformError, match="the recurrent network recurrent; say deepspeed or ddp"):
        engine_of(one_worker(Fsdp()), lambda: model)


def test_fsdp_refuses_a_parameter_of_a_single_number():
    model = make_model()
    model.temperature = torch.nn.Parameter(torch.tensor(1.0))
    with pytest.raises(PlatformError, match="temperature is a single number; say deepspeed or ddp"):
        engine_of(one_worker(Fsdp()), lambda: model)
