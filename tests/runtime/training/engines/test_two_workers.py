"""Every optimizer and regularisation under every engine, on two workers, against plain torch in one process."""

import pytest
import torch

from forking import run_workers
from tiny_model import plain_steps, preference_of, training
from tiny_worker import train_all
from trainshed.runtime.training.optim.regularization import average_decay
from trainshed.spec.training.engines import Ddp, DeepSpeed, Fsdp
from trainshed.spec.training.optimizers import Adafactor, Adagrad, Adam, AdamW, Lion, Muon, RmsProp, Sgd
from trainshed.spec.training.regularization import Regularization

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
STEEP = Sgd(learning_rate=0.5)
PRECISIONS = {"fp32": 1e-5, "bf16": 2e-2}
"""And how far losses may be from those of plain torch, as a part of them."""
REGULARIZED = {
    "l1": Regularization(l1=0.02),
    "l2": Regularization(l2=0.1, max_grad_norm=0.5),
    "ema": Regularization(ema_decay=0.7),
    "noise": Regularization(embedding_noise=5.0),
    "adversarial": Regularization(adversarial=0.5, max_grad_norm=0.0),
}
ENGINES = {"ddp": Ddp(), "fsdp": Fsdp(), **{f"zero-{stage}": DeepSpeed(zero_stage=stage) for stage in (0, 1, 2, 3)}}
TWICE = [(name, precision) for name in ENGINES for precision in PRECISIONS if (name, precision) != ("zero-0", "bf16")]
"""DeepSpeed has no bf16 in stage 0."""


def label(optimizer):
    return f"{optimizer.kind}-nesterov" if getattr(optimizer, "nesterov", False) else optimizer.kind


def cases():
    for name, engine in ENGINES.items():
        for optimizer in ELEMENTWISE + (WHOLE if name in ("ddp", "zero-0") else []):
            yield f"{label(optimizer)}-{name}", training(optimizer, engine=engine)
        yield f"existing-{name}", training(ADAMW, engine=engine, regularization=Regularization(embedding_noise=5.0))
        for kind, regularization in REGULARIZED.items():
            yield f"{kind}-{name}", training(ADAMW, engine=engine, regularization=regularization)
    for name, precision in TWICE:
        case = training(STEEP, engine=ENGINES[name])
        yield f"twice-{name}-{precision}", case.model_copy(update={"precision": precision})
    bf16 = training(ADAMW, engine=ENGINES["zero-2"], regularization=REGULARIZED["ema"])
    yield "ema-bf16", bf16.model_copy(update={"precision": "bf16"})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What two workers came to, by the name of the case."""
    folder = tmp_path_factory.mktemp("two-workers")
    made = dict(cases())
    run_workers(train_all, 2, folder, made, logs=folder, limit_s=400)
    return {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in made}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("optimizer", ELEMENTWISE, ids=label)
def test_an_elementwise_optimizer_trains_like_plain_torch_under_every_engine(trained, optimizer, engine):
    losses = [loss for _, _, loss in plain_steps(training(optimizer))]
    assert trained[f"{label(optimizer)}-{engine}"]["losses"] == pytest.approx(losses, rel=1e-5)
    assert losses[-1] != pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize("engine", ["ddp", "zero-0"])
@pytest.mark.parametrize("optimizer", WHOLE, ids=label)
def test_an_optimizer_of_whole_matrices_trains_like_plain_torch_where_nothing_is_split(trained, optimizer, engine):
    losses = [loss for _, _, loss in plain_steps(training(optimizer))]
    assert trained[f"{label(optimizer)}-{engine}"]["losses"] == pytest.approx(losses, rel=1e-4)


@pytest.mark.parametrize("name", [name for name, _ in cases()])
def test_going_back_to_a_checkpoint_repeats_the_losses_exactly(trained, name):
    steps = training(ADAMW).steps
    assert trained[name]["again"] == trained[name]["losses"][steps // 2 :]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["l1", "l2"])
def test_penalties_are_added_to_matrices_after_clipping_under_every_engine(trained, name, engine):
    regularization, losses = REGULARIZED[name], []
    for model, _, loss in plain_steps(training(ADAMW, regularization=regularization)):
        losses.append(loss)
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.grad += regularization.l1 * weight.detach().sign() + regularization.l2 * weight.detach()
    assert trained[f"{name}-{engine}"]["losses"] == pytest.approx(losses, rel=1e-5)
    assert losses != pytest.approx(trained[f"ema-{engine}"]["losses"], rel=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_average_of_the_weights_is_the_one_made_by_hand_under_every_engine(trained, engine):
    case, average, model = training(ADAMW, regularization=REGULARIZED["ema"]), {}, None
    after = plain_steps(case)
    model = next(after)[0]
    for step in range(case.steps):
        next(after, None)  # the step that was pending is done
        for name, weight in model.state_dict().items():
            kept = average_decay(0.7, step)
            average[name] = kept * average[name] + (1 - kept) * weight if step else weight.clone()
    result = trained[f"ema-{engine}"]
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(result["averaged"][name], average[name], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(result["raw"][name], weight, rtol=1e-4, atol=1e-5)
    raw, averaged, again = result["held_out"]
    assert raw == again != averaged


def test_the_average_is_kept_in_fp32_where_the_weights_are_bf16(trained):
    raw, averaged, again = trained["ema-bf16"]["held_out"]
    assert raw == again != averaged
    assert averaged == pytest.approx(trained["ema-zero-2"]["held_out"][1], rel=2e-2)


@pytest.mark.parametrize("engine", ENGINES)
def test_existing_weights_have_dropout_and_noise_from_the_first_step_under_every_engine(trained, engine):
    existing, noisy = trained[f"existing-{engine}"]["losses"], trained[f"noise-{engine}"]["losses"]
    assert existing == pytest.approx(trained["existing-zero-0"]["losses"], rel=1e-5)
    assert existing[0] != pytest.approx(noisy[0], rel=1e-3)
    assert existing[0] != pytest.approx(trained[f"ema-{engine}"]["losses"][0], rel=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_embedding_noise_is_in_training_alone(trained, engine):
    noisy, plain = trained[f"noise-{engine}"], trained[f"ema-{engine}"]
    assert noisy["losses"][0] != pytest.approx(plain["losses"][0], rel=1e-3)
    assert noisy["losses"] == pytest.approx(trained["noise-zero-0"]["losses"], rel=1e-5)
    assert noisy["held_out"][0] == noisy["held_out"][2]


@pytest.mark.parametrize("engine", ENGINES)
def test_attacked_embeddings_add_their_gradients_under_every_engine(trained, engine):
    losses = []

    def attacked(model, tokens, classes):
        embedded = model.embed(tokens).detach().requires_grad_()

        def loss_from(vectors):
            hidden = vectors
            for layer in model.layers:
                hidden = hidden + layer(hidden)
            logits = model.scale * model.head(hidden.mean(dim=1))
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
    assert trained[f"adversarial-{engine}"]["losses"] == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize(("engine", "precision"), TWICE)
def test_two_forward_passes_before_one_backward_pass_train_like_plain_torch(trained, engine, precision):
    def of_one_alone(forward, tokens, classes):
        calls = []

        def once(**given):
            calls.append(forward(**given))
            return calls[-1] if len(calls) == 1 else calls[-1].detach()

        return preference_of(once, tokens, classes)

    expected = [loss for _, _, loss in plain_steps(training(STEEP), preference_of)]
    without = [loss for _, _, loss in plain_steps(training(STEEP), of_one_alone)]
    assert without != pytest.approx(expected, rel=3 * PRECISIONS["bf16"]), "the second pass learns nothing"
    assert trained[f"twice-{engine}-{precision}"]["losses"] == pytest.approx(expected, rel=PRECISIONS[precision])
