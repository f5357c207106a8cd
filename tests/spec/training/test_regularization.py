"""When a training ends early, and what of its regularisation is refused."""

import math

import pytest
from pydantic import ValidationError

from trainshed.spec.training.regularization import EarlyStopping, Regularization


@pytest.mark.parametrize(
    ("losses", "stops"),
    [
        ([], False),
        ([3.0], False),
        ([3.0, 2.0, 1.0], False),
        ([1.0, 1.1], False),
        ([1.0, 1.1, 1.2], True),
        ([1.0, 1.0, 1.0], True),
        ([1.0, 1.1, 0.9, 1.0], False),
        ([1.0, 1.1, 0.9, 1.0, 0.95], True),
        ([1.0, math.nan, math.nan], True),
        ([math.nan, math.nan], True),
        ([math.nan, 1.0], False),
    ],
)
def test_patience_counts_validations_since_the_best(losses, stops):
    assert EarlyStopping(patience=2).should_stop(losses) is stops


def test_a_loss_is_better_only_by_more_than_min_delta():
    losses = [1.0, 0.95, 0.91]
    assert EarlyStopping(patience=2, min_delta=0.1).should_stop(losses)
    assert not EarlyStopping(patience=2, min_delta=0.08).should_stop(losses)


def test_an_attack_is_a_second_pass():
    assert Regularization().passes == 1
    assert Regularization(adversarial=0.5).passes == 2


@pytest.mark.parametrize(
    "fields",
    [{"l1": -0.1}, {"l2": -0.1}, {"embedding_noise": -1}, {"adversarial": -1}, {"ema_decay": 1.0}, {"l3": 0.1}],
    ids=str,
)
def test_values_without_a_meaning_are_refused(fields):
    with pytest.raises(ValidationError, match=next(iter(fields))):
        Regularization(**fields)


def test_patience_of_none_is_refused():
    with pytest.raises(ValidationError, match="patience"):
        EarlyStopping(patience=0)
