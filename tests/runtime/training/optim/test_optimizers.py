"""The optimizers that are not torch's own classes, and the state of all of them in a checkpoint."""

from functools import partial

import pytest
import torch

from tiny_model import batch, engine_step, loss_of, make_model, plain_steps, training
from trainshed.record.events import to_nobody
from trainshed.record.storage import Storage
from trainshed.runtime.training import engines
from trainshed.runtime.training.checkpoints.keeper import Keeper
from trainshed.runtime.training.checkpoints.progress import Progress
from trainshed.runtime.training.host import World
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.runtime.training.optim.regularization import AVERAGE, apply
from trainshed.spec.training.engines import Ddp
from trainshed.spec.training.optimizers import Adafactor, Adagrad, Adam, AdamW, Lion, Muon, RmsProp, Sgd
from trainshed.spec.training.regularization import Regularization

MUON = Muon(learning_rate=0.02, weight_decay=0.1)


def stepped(model, optimizer, steps=3):
    """The model after some steps on the same batches."""
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(model, *batch(step, 8)).backward()
        optimizer.step()
    return dict(model.state_dict())


def test_adagrad_is_torchs():
    ours, theirs = make_model(), make_model()
    matrices = [weight for weight in theirs.parameters() if weight.ndim == 2]
    vectors = [weight for weight in theirs.parameters() if weight.ndim < 2]
    groups = [{"params": vectors}, {"params": matrices, "weight_decay": 0.1}]
    expected = stepped(theirs, torch.optim.Adagrad(groups, lr=0.05, eps=1e-10))
    found = stepped(ours, build_optimizer(Adagrad(learning_rate=0.05, weight_decay=0.1), ours))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_muon_moves_the_layers_matrices_and_adamw_all_else():
    ours, theirs = make_model(), make_model()
    found = stepped(ours, build_optimizer(MUON, ours))
    of_layers = [layer[0].weight for layer in theirs.layers]
    others = [weight for weight in theirs.parameters() if not any(weight is matrix for matrix in of_layers)]
    groups = [
        {"params": [weight for weight in others if weight.ndim < 2], "weight_decay": 0.0},
        {"params": [weight for weight in others if weight.ndim == 2], "weight_decay": 0.1},
    ]
    adamw = torch.optim.AdamW(groups, lr=0.02, betas=(0.9, 0.95))
    muon = torch.optim.Muon(of_layers, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for step in range(3):
        theirs.zero_grad()
        loss_of(theirs, *batch(step, 8)).backward()
        adamw.step()
        muon.step()
    assert all(torch.equal(found[name], weight) for name, weight in theirs.state_dict().items())


@pytest.mark.parametrize(
    "spec",
    [
        Sgd(learning_rate=0.1),
        Adam(learning_rate=0.01),
        AdamW(learning_rate=0.01),
        Adagrad(learning_rate=0.05),
        RmsProp(learning_rate=0.01),
        Adafactor(learning_rate=0.05),
        Lion(learning_rate=0.001),
        MUON,
    ],
    ids=lambda spec: spec.kind,
)
@pytest.mark.parametrize("saved_at", [0, 3])
def test_an_optimizer_goes_on_from_a_checkpoint_in_a_new_engine_and_in_the_old_one(spec, saved_at, tmp_path):
    case = training(spec, engine=Ddp(), regularization=Regularization(ema_decay=0.5))
    keeper = Keeper(Storage.open(tmp_path), ".", case.checkpoint, World(0, 1, torch.device("cpu")), to_nobody)

    def made():
        engine = engines.build(case, make_model, partial(build_optimizer, spec), torch.device("cpu"))
        now = {"step": 0}
        return engine, now, apply(case.regularization, engine.model, engine.optimizer, lambda: now["step"])

    def averages(engine, now, regularizers, first, save_at=None):
        for step in range(first, case.steps):
            now["step"] = step
            if step == save_at:
                keeper.save(engine, Progress(step=step), {})
            engine_step(case, engine, regularizers, step)
        return [engine.optimizer.state[weight][AVERAGE].clone() for weight in engine.model.parameters()]

    old = made()
    expected = averages(*old, 0, save_at=saved_at)
    for which in (made(), old):
        back = keeper.resume(which[0])
        assert all(torch.equal(*pair) for pair in zip(averages(*which, back.step), expected, strict=True))


@pytest.mark.parametrize("spec", [MUON, Adafactor(learning_rate=0.05)], ids=lambda spec: spec.kind)
def test_an_optimizer_of_whole_matrices_learns(spec):
    losses = [
        loss for _, _, loss in plain_steps(training(spec, steps=30), lambda model, *_: loss_of(model, *batch(0, 8)))
    ]
    assert losses[-1] < 0.2 * losses[0]
