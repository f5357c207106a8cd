"""Penalties, the average of weights, embedding noise and attacks, each by hand."""

from contextlib import nullcontext

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from tiny_model import TIME, TOKENS, WIDTH, Tiny, batch, loss_of, make_model
from trainshed.errors import PlatformError
from trainshed.runtime.training.optim.embeddings import Adversary, add_noise, input_embeddings
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.runtime.training.optim.regularization import AVERAGE, apply, average_decay
from trainshed.spec.training.optimizers import Sgd
from trainshed.spec.training.regularization import Regularization

SGD = Sgd(learning_rate=0.1, momentum=0.0)


def test_penalties_are_the_gradients_of_what_is_added_to_the_loss():
    ours, theirs = make_model(), make_model()
    optimizer = build_optimizer(SGD, ours)
    apply(Regularization(l1=0.01, l2=0.1), ours, optimizer, lambda: 0)
    loss_of(ours, *batch(0, 8)).backward()
    optimizer.step()
    matrices = [weight for weight in theirs.parameters() if weight.ndim == 2]
    penalty = sum(0.01 * weight.abs().sum() + 0.05 * weight.square().sum() for weight in matrices)
    (loss_of(theirs, *batch(0, 8)) + penalty).backward()
    torch.optim.SGD(theirs.parameters(), lr=0.1).step()
    for found, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_average_follows_the_weights_and_starts_quickly():
    model = make_model()
    optimizer = build_optimizer(SGD, model)
    now = {"step": 0}
    regularizers = apply(Regularization(ema_decay=0.9), model, optimizer, lambda: now["step"])
    expected = torch.empty(0)
    for step in range(4):
        now["step"] = step
        optimizer.zero_grad()
        loss_of(model, *batch(step, 8)).backward()
        optimizer.step()
        weight = model.head.weight.detach()
        kept = (1 + step) / (10 + step)
        expected = kept * expected + (1 - kept) * weight if step else weight.clone()
    raw = model.head.weight.detach().clone()
    with regularizers.averaged(lambda: None):
        torch.testing.assert_close(model.head.weight, expected)
        assert torch.equal(optimizer.state[model.head.weight][AVERAGE], raw)
    assert torch.equal(model.head.weight, raw)


def test_what_the_average_keeps_rises_to_its_decay():
    assert average_decay(0.999, 0) == 0.1
    assert average_decay(0.999, 90) == pytest.approx(0.91)
    assert average_decay(0.999, 10**6) == 0.999


def test_the_average_is_in_the_optimizers_saved_state():
    model = make_model()
    optimizer = build_optimizer(SGD, model)
    apply(Regularization(ema_decay=0.9), model, optimizer, lambda: 0)
    loss_of(model, *batch(0, 8)).backward()
    optimizer.step()
    saved = optimizer.state_dict()["state"]
    assert len(saved) == len(list(model.parameters()))
    assert all(AVERAGE in state for state in saved.values())


def test_noise_is_uniform_within_its_bound_and_only_in_training():
    embedding = torch.nn.Embedding(TOKENS, WIDTH)
    tokens = torch.randint(TOKENS, (64, TIME))
    clean = embedding(tokens)
    add_noise([embedding], 5.0)
    torch.manual_seed(1)
    noise = (embedding(tokens) - clean).detach()
    bound = 5.0 / (TIME * WIDTH) ** 0.5
    assert bound * 0.98 < noise.abs().max() <= bound * 1.0001
    # The mean squared norm of a uniform vector of n numbers in +-b is n b^2 / 3: alpha^2 / 3 for a whole sample.
    assert noise.flatten(1).square().sum(1).mean() == pytest.approx(25 / 3, rel=0.05)
    torch.manual_seed(1)
    assert torch.equal(embedding(tokens) - clean, noise)
    embedding.eval()
    assert torch.equal(embedding(tokens), clean)


def test_an_attack_shifts_every_sample_by_epsilon_to_a_higher_loss_and_adds_its_gradients():
    model, tokens, classes = make_model(), *batch(0, 8)
    seen = []
    adversary = Adversary([model.embed], 0.25)
    model.embed.register_forward_hook(lambda *call: seen.append(call[2].detach()))
    with adversary.watch():
        clean = loss_of(model, tokens, classes)
        clean.backward()
    alone = model.head.weight.grad.clone()
    with adversary.attack():
        attacked = loss_of(model, tokens, classes)
        attacked.backward()
    shift = (seen[1] - seen[0]).flatten(1)
    torch.testing.assert_close(shift.norm(dim=1), torch.full((8,), 0.25))
    assert attacked > clean
    other = make_model()
    other.embed.register_forward_hook(lambda *call: call[2] + shift.view_as(call[2]))
    loss_of(other, tokens, classes).backward()
    torch.testing.assert_close(model.head.weight.grad - alone, other.head.weight.grad)
    assert torch.equal(model.embed(tokens), seen[0])  # outside of both nothing is shifted


def test_an_attack_reaches_a_frozen_embedding_and_both_halves_of_a_model():
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(
        T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    )
    embeddings = input_embeddings(model)
    model.shared.weight.requires_grad_(False)
    calls = []
    adversary = Adversary(embeddings, 0.5)
    for embedding in embeddings:
        embedding.register_forward_hook(lambda *call: calls.append(call[2].detach()))
    tokens, labels = torch.randint(20, (4, 6)), torch.randint(20, (4, 3))
    model.eval()  # no dropout: both passes are alike but for the shift
    with adversary.watch():
        clean = model(input_ids=tokens, labels=labels).loss
        clean.backward()
    with adversary.attack():
        attacked = model(input_ids=tokens, labels=labels).loss
    assert attacked > clean
    assert [call.shape for call in calls] == [(4, 6, 8), (4, 3, 8)] * 2  # encoder and decoder, clean and attacked
    for before, after in zip(calls[:2], calls[2:], strict=True):
        torch.testing.assert_close((after - before).flatten(1).norm(dim=1), torch.full((4,), 0.5))


def test_a_model_without_an_input_embedding_is_refused_in_one_line():
    model = torch.nn.Linear(2, 2)
    with pytest.raises(PlatformError, match="need a model with an input embedding, Linear has none; set both to 0"):
        apply(Regularization(embedding_noise=5.0), model, build_optimizer(SGD, model), lambda: 0)


def test_without_regularisation_there_is_one_plain_pass_and_nothing_to_swap():
    model = Tiny()
    regularizers = apply(Regularization(), model, build_optimizer(SGD, model), lambda: 0)
    (only,) = regularizers.passes()
    assert isinstance(only, nullcontext)
    regularizers.swap(lambda: pytest.fail("there is nothing to refresh"))
