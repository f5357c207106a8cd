"""Every optimizer and regularisation under every ZeRO stage, on two workers, against plain torch in one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tiny_model import plain_steps, training
from trainshed.runtime.training.regularize import average_decay
from trainshed.spec.optimizers import Adafactor, Adagrad, Adam, AdamW, Lion, Muon, RmsProp, Sgd
from trainshed.spec.regularization import Regularization

pytestmark = pytest.mark.slow

ELEMENTWISE = [
    Sgd(learning_rate=0.1, weight_decay=0.01, layer_decay=0.7),
    Sgd(learning_rate=0.1, nesterov=True),
    Adam(learning_rate=0.01, weight_decay=0.01),
    AdamW(learning_rate=0.01, weight_decay=0.1, layer_decay=0.5),
    Adagrad(learning_rate=0.05, weight_decay=0.1, layer_decay=0.5),
    RmsProp(learning_rate=0.01, momentum=0.5, weight_decay=0.01),
    Lion(learning_rate=0.003, weight_decay=0.1),
]
WHOLE = [Adafactor(learning_rate=0.05, weight_decay=0.1), Muon(learning_rate=0.02, layer_decay=0.8)]
ADAMW = AdamW(learning_rate=0.01)
REGULARIZED = {
    "l1": Regularization(l1=0.02),
    "l2": Regularization(l2=0.1, max_grad_norm=0.5),
    "ema": Regularization(ema_decay=0.7),
    "noise": Regularization(embedding_noise=5.0),
    "adversarial": Regularization(adversarial=0.5, max_grad_norm=0.0),
}
STAGES = (0, 1, 2, 3)


def label(optimizer):
    return f"{optimizer.kind}-nesterov" if getattr(optimizer, "nesterov", False) else optimizer.kind


def cases():
    for stage in STAGES:
        for optimizer in ELEMENTWISE + (WHOLE if stage == 0 else []):
            yield f"{label(optimizer)}-{stage}", training(optimizer, zero_stage=stage)
        for name, regularization in REGULARIZED.items():
            yield f"{name}-{stage}", training(ADAMW, zero_stage=stage, regularization=regularization)
    bf16 = training(ADAMW, zero_stage=2, regularization=REGULARIZED["ema"])
    yield "ema-bf16", bf16.model_copy(update={"precision": "bf16"})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What two workers came to, by the name of the case."""
    folder = tmp_path_factory.mktemp("two-workers")
    documents = {name: case.model_dump(mode="json") for name, case in cases()}
    (folder / "cases.json").write_text(json.dumps(documents))
    tests = Path(__file__).parents[1]
    path = os.pathsep.join(filter(None, [str(tests), os.environ.get("PYTHONPATH")]))
    commands = [[sys.executable, tests / "runtime" / "tiny_worker.py", folder, str(rank), "2"] for rank in range(2)]
    env = os.environ | {"PYTHONPATH": path}
    started = [
        subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for command in commands
    ]
    for process in started:
        _, stderr = process.communicate(timeout=500)
        assert process.returncode == 0, stderr[-3000:]
    return {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in documents}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("optimizer", ELEMENTWISE, ids=label)
def test_an_elementwise_optimizer_trains_like_plain_torch_under_every_stage(trained, optimizer, stage):
    losses = [loss for _, _, loss in plain_steps(training(optimizer))]
    assert trained[f"{label(optimizer)}-{stage}"]["losses"] == pytest.approx(losses, rel=1e-5)
    assert losses[-1] != pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize("optimizer", WHOLE, ids=label)
def test_an_optimizer_of_whole_matrices_trains_like_plain_torch_where_nothing_is_split(trained, optimizer):
    losses = [loss for _, _, loss in plain_steps(training(optimizer))]
    assert trained[f"{label(optimizer)}-0"]["losses"] == pytest.approx(losses, rel=1e-4)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["l1", "l2"])
def test_penalties_are_added_to_matrices_after_clipping_under_every_stage(trained, name, stage):
    regularization, losses = REGULARIZED[name], []
    for model, _, loss in plain_steps(training(ADAMW, regularization=regularization)):
        losses.append(loss)
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.grad += regularization.l1 * weight.detach().sign() + regularization.l2 * weight.detach()
    assert trained[f"{name}-{stage}"]["losses"] == pytest.approx(losses, rel=1e-5)
    assert losses != pytest.approx(trained[f"ema-{stage}"]["losses"], rel=1e-5)


@pytest.mark.parametrize("stage", STAGES)
def test_the_average_of_the_weights_is_the_one_made_by_hand_under_every_stage(trained, stage):
    case, average, model = training(ADAMW, regularization=REGULARIZED["ema"]), {}, None
    after = plain_steps(case)
    model = next(after)[0]
    for step in range(case.steps):
        next(after, None)  # the step that was pending is done
        for name, weight in model.state_dict().items():
            kept = average_decay(0.7, step)
            average[name] = kept * average[name] + (1 - kept) * weight if step else weight.clone()
    result = trained[f"ema-{stage}"]
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(result["averaged"][name], average[name], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(result["raw"][name], weight, rtol=1e-4, atol=1e-5)
    raw, averaged, again = result["held_out"]
    assert raw == again != averaged


def test_the_average_is_kept_in_fp32_where_the_weights_are_bf16(trained):
    raw, averaged, again = trained["ema-bf16"]["held_out"]
    assert raw == again != averaged
    assert averaged == pytest.approx(trained["ema-2"]["held_out"][1], rel=2e-2)


@pytest.mark.parametrize("stage", STAGES)
def test_embedding_noise_is_in_training_alone(trained, stage):
    noisy, plain = trained[f"noise-{stage}"], trained[f"ema-{stage}"]
    assert noisy["losses"][0] != pytest.approx(plain["losses"][0], rel=1e-3)
    assert noisy["losses"] == pytest.approx(trained["noise-0"]["losses"], rel=1e-5)
    assert noisy["held_out"][0] == noisy["held_out"][2]


@pytest.mark.parametrize("stage", STAGES)
def test_attacked_embeddings_add_their_gradients_under_every_stage(trained, stage):
    losses = []

    def attacked(model, tokens, classes):
        embedded = model.embed(tokens).detach().requires_grad_()

        def loss_from(vectors):
            hidden = vectors
            for layer in model.layers:
                hidden = hidden + layer(hidden)
            logits = model.head(hidden.mean(dim=1))
            return torch.nn.functional.cross_entropy(logits, classes, reduction="sum")

        gradient = torch.autograd.grad(loss_from(embedded), embedded)[0]
        shift = 0.5 * gradient / gradient.flatten(1).norm(dim=1)[:, None, None]
        clean, adversarial = loss_from(model.embed(tokens)), loss_from(model.embed(tokens) + shift)
        assert adversarial > clean
        losses.append(float(clean.detach()) / len(tokens))
        return clean + adversarial

    case = training(ADAMW, regularization=Regularization(max_grad_norm=1e9))
    for _ in plain_steps(case, attacked):
        pass
    assert trained[f"adversarial-{stage}"]["losses"] == pytest.approx(losses, rel=1e-5)
