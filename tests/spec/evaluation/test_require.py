"""The gate of an evaluation: what it may say, and which figures pass it."""

import pytest
from pydantic import TypeAdapter, ValidationError

from trainshed.spec.document.faults import validate
from trainshed.spec.evaluation.evaluate import Leakage
from trainshed.spec.evaluation.require import Require
from trainshed.spec.evaluation.verdict import failures, leakage_failure

ADAPTER = TypeAdapter(Require)


def gate(**fields):
    return validate(ADAPTER, fields)


def test_a_gate_is_the_same_after_it_was_written_and_read():
    made = gate(accuracy=">= 0.9", loss="<1e-1")
    assert validate(ADAPTER, made.model_dump(mode="json", by_alias=True)) == made
    assert {name: str(bound) for name, bound in made.bounds.items()} == {"accuracy": ">= 0.9", "loss": "< 0.1"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"accuracy": "0.9"}, "say a sign and a number"),
        ({"accuracy": "=> 0.9"}, "say a sign and a number"),
        ({"accuracy": ">= high"}, "say a sign and a number"),
        ({"accuracy": ">= nan"}, "say a sign and a number"),
        ({"accuracy": ">= 1e999"}, "no figure can reach"),
        ({"accuracy": ">= 0.9 or loss < 1"}, "say a sign and a number"),
        ({}, "needs a metric with its bound"),
        ({"against": "chat@production"}, "needs a metric with its bound"),
        ({"accuracy": ">= 0.9", "within": 0.1}, "say which with against"),
    ],
)
def test_a_gate_that_cannot_be_read_says_what_to_write(fields, said):
    with pytest.raises(ValidationError) as caught:
        gate(**fields)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"accuracy": 0.9},
        {"accuracy": None},
        {"Accuracy": ">= 0.9"},
        {"../x": ">= 0.9"},
        {"accuracy": ">= 0.9", "against": "production"},
        {"accuracy": ">= 0.9", "against": "chat@production", "within": -0.1},
        {"accuracy": ">= 0.9", "against": "chat@production", "within": "0.1"},
    ],
)
def test_a_gate_takes_nothing_else(fields):
    with pytest.raises(ValidationError):
        gate(**fields)


@pytest.mark.parametrize(
    ("bound", "figure", "passes"),
    [
        (">= 0.9", 0.9, True),
        (">= 0.9", 0.8999, False),
        ("> 0.9", 0.9, False),
        ("<= 0.5", 0.5, True),
        ("< 0.5", 0.5, False),
        ("< 0.5", 0.4, True),
        (">= -1", float("nan"), False),
        ("< 1", float("nan"), False),
    ],
)
def test_a_figure_keeps_its_bound_or_not(bound, figure, passes):
    assert (failures(gate(accuracy=bound), {"accuracy": figure}, other=None) == ()) is passes


@pytest.mark.parametrize(
    ("bound", "figure", "other", "passes"),
    [
        (">= 0", 0.89, 0.90, True),
        (">= 0", 0.88, 0.90, False),
        (">= 0", 0.99, 0.50, True),
        ("<= 9", 1.01, 1.00, True),
        ("<= 9", 1.02, 1.00, False),
        ("<= 9", 0.10, 1.00, True),
        (">= 0", 0.89, float("nan"), False),
    ],
)
def test_a_figure_may_be_so_much_worse_than_that_of_the_other_model(bound, figure, other, passes):
    own = gate(accuracy=bound, against="chat@production", within=0.01)
    assert (failures(own, {"accuracy": figure}, other={"accuracy": other}) == ()) is passes


def test_every_reason_names_the_metric_both_figures_and_what_is_allowed():
    own = gate(accuracy=">= 0.9", loss="<= 1", against="chat@production", within=0.01)
    reasons = failures(own, {"accuracy": 0.7}, other={"accuracy": 0.8})
    assert reasons == (
        "accuracy is 0.7, and must be >= 0.9",
        "accuracy is 0.7, and chat@production has 0.8: it is 0.1 worse, and 0.01 is allowed",
        "loss is not reported for these samples, and must be <= 1",
    )


def test_a_metric_that_is_never_reported_is_known_before():
    assert gate(acuracy=">= 0.9").metrics_misfit(("loss", "accuracy")) == (
        "acuracy",
        "this evaluation reports no acuracy; did you mean 'accuracy'?",
    )
    assert gate(accuracy=">= 0.9").metrics_misfit(("loss", "accuracy")) is None


@pytest.mark.parametrize(
    ("most", "share", "fails"), [(None, 1.0, False), (0.1, 0.1, False), (0.1, 0.11, True), (0.0, 0.001, True)]
)
def test_overlap_beyond_the_stated_share_fails(most, share, fails):
    assert (leakage_failure(Leakage(max_share=most), share) is not None) is fails
