"""Schedules are pure functions of the step, and torch's or transformers' own curves after their warm-up."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.optim import lr_scheduler as theirs

from job_texts import TRAIN, changed, text
from trainshed.errors import SpecError
from trainshed.spec.load import load_files
from trainshed.spec.training.points import Points, points_of
from trainshed.spec.training.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    InverseSqrt,
    Linear,
    MultiStep,
    OneCycle,
    Polynomial,
    Step,
    WarmupStableDecay,
    misfit,
)

TOTAL = 50
WARMUPS = [0, 1, 7]
WARM = [
    kind(warmup_steps=5, **fields)
    for kind, fields in [
        (Constant, {}),
        (Linear, {}),
        (Cosine, {}),
        (CosineRestarts, {"cycle_steps": 10}),
        (Polynomial, {}),
        (Step, {"every_steps": 10}),
        (MultiStep, {"milestones": (20, 30)}),
        (Exponential, {"gamma": 0.9}),
        (InverseSqrt, {}),
        (WarmupStableDecay, {}),
    ]
]
FALLING = [
    Linear(floor=0.1),
    Cosine(floor=0.1),
    Polynomial(floor=0.1),
    WarmupStableDecay(floor=0.1),
    OneCycle(warmup_steps=1, floor=0.1),
]


def test_points_are_joined_by_lines_and_the_last_one_holds():
    schedule = Points(points=((0, 0.5), (10, 1.0), (11, 0.2)))
    assert [schedule.factor(step, TOTAL) for step in (0, 5, 10, 11, 40)] == pytest.approx([0.5, 0.75, 1.0, 0.2, 0.2])


@pytest.mark.parametrize("points", [((1, 1.0),), ((0, 1.0), (0, 0.5)), ((0, 1.0), (5, 0.5), (4, 0.2)), ()])
def test_points_begin_at_the_first_step_and_rise(points):
    with pytest.raises(ValidationError):
        Points(points=points)


@pytest.mark.parametrize("schedule", [Cosine(warmup_steps=5), WarmupStableDecay(warmup_steps=3), Step(every_steps=9)])
def test_rates_that_were_seen_are_followed_again_by_points(schedule):
    rates = [0.01 * schedule.factor(step, TOTAL) for step in range(TOTAL)]
    peak, points = points_of(rates)
    assert [peak * points.factor(step, TOTAL) for step in range(TOTAL)] == pytest.approx(rates)
    if not isinstance(schedule, Cosine):
        assert len(points.points) < 20, "a line needs its two ends only"


def kind_of(schedule):
    return schedule.kind


def rates(make, total):
    """The learning rates of a scheduler of torch or transformers whose peak is 1, over `total` steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, seen = make(optimizer), []
    for _ in range(total):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def after_warmup(schedule, total=TOTAL):
    return [schedule.factor(step, total) for step in range(schedule.warmup_steps or 0, total)]


@pytest.mark.parametrize("schedule", WARM, ids=kind_of)
def test_warm_up_rises_in_equal_steps_to_the_peak_as_torchs_linear_does(schedule):
    factors = [schedule.factor(step, TOTAL) for step in range(5)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    torchs = rates(lambda optimizer: theirs.LinearLR(optimizer, start_factor=0.2, total_iters=4), 5)
    assert factors == pytest.approx(torchs)
    assert schedule.factor(5, TOTAL) == pytest.approx(1.0)


@pytest.mark.parametrize("schedule", FALLING, ids=kind_of)
def test_a_falling_schedule_starts_at_the_peak_and_ends_at_its_floor(schedule):
    assert schedule.factor(0, TOTAL) == pytest.approx(1.0)
    assert schedule.factor(TOTAL - 1, TOTAL) == pytest.approx(0.1)
    factors = [schedule.factor(step, TOTAL) for step in range(TOTAL)]
    assert factors == sorted(factors, reverse=True)


def test_constant_stays_at_the_peak():
    assert {Constant(warmup_steps=2).factor(step, TOTAL) for step in range(2, TOTAL)} == {1.0}


@pytest.mark.parametrize("warmup", WARMUPS)
@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_linear_and_cosine_are_torchs(warmup, floor):
    left = TOTAL - warmup
    linear = rates(lambda optimizer: theirs.LinearLR(optimizer, 1.0, floor, total_iters=left - 1), left)
    assert after_warmup(Linear(warmup_steps=warmup, floor=floor)) == pytest.approx(linear, abs=1e-9)
    cosine = rates(lambda optimizer: theirs.CosineAnnealingLR(optimizer, left - 1, eta_min=floor), left)
    assert after_warmup(Cosine(warmup_steps=warmup, floor=floor)) == pytest.approx(cosine, abs=1e-9)


@pytest.mark.parametrize("warmup", WARMUPS)
@pytest.mark.parametrize(("cycle", "growth", "floor"), [(8, 1, 0.0), (5, 2, 0.1), (1, 1, 0.0), (1, 3, 0.3)])
def test_cosine_with_restarts_is_torchs(warmup, cycle, growth, floor):
    schedule = CosineRestarts(warmup_steps=warmup, cycle_steps=cycle, cycle_growth=growth, floor=floor)
    torchs = rates(
        lambda optimizer: theirs.CosineAnnealingWarmRestarts(optimizer, cycle, growth, eta_min=floor), TOTAL - warmup
    )
    assert after_warmup(schedule) == pytest.approx(torchs, abs=1e-9)
    assert schedule.factor(warmup + cycle, TOTAL) == 1.0


@pytest.mark.parametrize("warmup", WARMUPS)
@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_polynomial_is_torchs_and_with_a_floor_transformers(warmup, power):
    left = TOTAL - warmup
    torchs = rates(lambda optimizer: theirs.PolynomialLR(optimizer, left - 1, power), left)
    assert after_warmup(Polynomial(warmup_steps=warmup, power=power)) == pytest.approx(torchs, abs=1e-9)
    from transformers import get_polynomial_decay_schedule_with_warmup as transformers_polynomial

    floored = rates(
        lambda optimizer: transformers_polynomial(optimizer, warmup, TOTAL - 1, lr_end=0.2, power=power), TOTAL
    )
    schedule = Polynomial(warmup_steps=warmup, power=power, floor=0.2)
    assert after_warmup(schedule) == pytest.approx(floored[warmup:], abs=1e-9)


@pytest.mark.parametrize("warmup", WARMUPS)
@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0])
def test_step_multi_step_and_exponential_are_torchs(warmup, gamma):
    left = TOTAL - warmup
    step = rates(lambda optimizer: theirs.StepLR(optimizer, 6, gamma), left)
    assert after_warmup(Step(warmup_steps=warmup, every_steps=6, gamma=gamma)) == pytest.approx(step)
    multi = rates(lambda optimizer: theirs.MultiStepLR(optimizer, [9 - warmup, 30 - warmup], gamma), left)
    assert after_warmup(MultiStep(warmup_steps=warmup, milestones=(9, 30), gamma=gamma)) == pytest.approx(multi)
    exponential = rates(lambda optimizer: theirs.ExponentialLR(optimizer, gamma), left)
    assert after_warmup(Exponential(warmup_steps=warmup, gamma=gamma)) == pytest.approx(exponential)


@pytest.mark.parametrize("warmup", WARMUPS)
@pytest.mark.parametrize("timescale", [None, 4, 100])
def test_inverse_square_root_is_transformers(warmup, timescale):
    from transformers import get_inverse_sqrt_schedule

    reference = rates(lambda optimizer: get_inverse_sqrt_schedule(optimizer, warmup, timescale=timescale), TOTAL)
    schedule = InverseSqrt(warmup_steps=warmup, timescale_steps=timescale)
    assert after_warmup(schedule) == pytest.approx(reference[warmup:])
    assert InverseSqrt(timescale_steps=10).factor(30, TOTAL) == pytest.approx(0.5)


@pytest.mark.parametrize("warmup", WARMUPS)
@pytest.mark.parametrize(("decay", "floor"), [(0.2, 0.0), (0.5, 0.1), (1.0, 0.0)])
def test_wsd_is_transformers(warmup, decay, floor):
    from transformers import get_wsd_schedule

    falls = min(round(decay * TOTAL), TOTAL - 1 - warmup)
    reference = rates(
        lambda optimizer: get_wsd_schedule(
            optimizer,
            num_warmup_steps=warmup,
            num_decay_steps=falls,
            num_stable_steps=TOTAL - 1 - warmup - falls,
            decay_type="linear",
            min_lr_ratio=floor,
        ),
        TOTAL,
    )
    schedule = WarmupStableDecay(warmup_steps=warmup, decay=decay, floor=floor)
    assert after_warmup(schedule) == pytest.approx(reference[warmup:], abs=1e-9)


def test_wsd_holds_the_peak_until_its_decay_begins():
    schedule = WarmupStableDecay(decay=0.2)
    assert schedule.factor(39, TOTAL) == 1.0
    assert schedule.factor(40, TOTAL) < 1.0


@pytest.mark.parametrize("rise", [None, 2, 10, 25])
@pytest.mark.parametrize(("start", "floor"), [(0.04, 4e-6), (0.5, 0.1)])
def test_one_cycle_is_torchs(rise, start, floor):
    schedule = OneCycle(warmup_steps=rise, start=start, floor=floor)
    torchs = rates(
        lambda optimizer: theirs.OneCycleLR(
            optimizer,
            max_lr=1.0,
            total_steps=TOTAL,
            pct_start=(rise or 15) / TOTAL,
            cycle_momentum=False,
            div_factor=1 / start,
            final_div_factor=start / floor,
        ),
        TOTAL - 1,
    )
    factors = [schedule.factor(step, TOTAL) for step in range(TOTAL)]
    assert factors[:-1] == pytest.approx(torchs, abs=1e-9)
    assert factors[-1] == pytest.approx(floor)
    assert max(factors) == factors[(rise or 15) - 1] == 1.0


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (Linear(warmup_steps=51), "schedule.warmup_steps must not be over steps: 51 is over 50"),
        (OneCycle(warmup_steps=51), "schedule.warmup_steps must not be over steps: 51 is over 50"),
        (MultiStep(milestones=(10, 50)), "schedule.milestones must be under steps: 50 is not under 50"),
        (
            CosineRestarts(warmup_steps=5, cycle_steps=45),
            "schedule.cycle_steps leaves no restart in 50 steps: warmup_steps + cycle_steps is 50; "
            "make it shorter, or use kind cosine",
        ),
        (
            Step(every_steps=50),
            "schedule.every_steps leaves no fall in 50 steps: warmup_steps + every_steps is 50; "
            "make it shorter, or use kind constant",
        ),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_what_does_not_fit_the_steps_is_said(schedule, said):
    assert misfit(schedule, 50) == said
    assert misfit(schedule, 100) is None


def test_a_training_refuses_a_schedule_that_does_not_fit_its_steps(tmp_path):
    job = changed(TRAIN, schedule={"kind": "multi_step", "milestones": [5, 10]})
    (tmp_path / "job.yaml").write_text(text(job))
    with pytest.raises(SpecError, match=r"schedule\.milestones must be under steps: 10 is not under 10") as caught:
        load_files([tmp_path / "job.yaml"], ())
    assert len(caught.value.faults) == 1


def test_a_milestone_in_warm_up_is_refused():
    said = "schedule.milestones must not be in warm-up: 4 is under warmup_steps, 5"
    assert misfit(MultiStep(warmup_steps=5, milestones=(4, 9)), 50) == said
    assert misfit(MultiStep(warmup_steps=4, milestones=(4, 9)), 50) is None


@pytest.mark.parametrize("milestones", [(20, 10), (10, 10)])
def test_milestones_that_do_not_rise_are_refused(milestones):
    with pytest.raises(ValidationError, match=f"milestones must rise: 10 stands after {milestones[0]}"):
        MultiStep(milestones=milestones)


@pytest.mark.parametrize("gamma", [0.0, 1.5, -0.1])
def test_a_gamma_that_does_not_let_the_rate_fall_is_refused(gamma):
    with pytest.raises(ValidationError, match="gamma"):
        Exponential(gamma=gamma)


def test_a_factor_depends_on_nothing_but_the_step():
    schedule = Cosine(warmup_steps=3)
    assert schedule.factor(17, TOTAL) == schedule.factor(17, TOTAL)
    assert not math.isclose(schedule.factor(17, TOTAL), schedule.factor(18, TOTAL))
