"""Schedules are pure functions of the step."""

import math

import pytest
import torch

from trainshed.spec.schedules import Constant, Cosine, Linear, WarmupStableDecay

TOTAL = 50


@pytest.mark.parametrize(
    "schedule",
    [Constant(warmup_steps=5), Linear(warmup_steps=5), Cosine(warmup_steps=5), WarmupStableDecay(warmup_steps=5)],
    ids=lambda schedule: schedule.kind,
)
def test_warm_up_rises_in_equal_steps_to_the_peak(schedule):
    assert [schedule.factor(step, TOTAL) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("schedule", [Linear(floor=0.1), Cosine(floor=0.1), WarmupStableDecay(floor=0.1)])
def test_a_falling_schedule_starts_at_the_peak_and_ends_at_its_floor(schedule):
    assert schedule.factor(0, TOTAL) == pytest.approx(1.0)
    assert schedule.factor(TOTAL - 1, TOTAL) == pytest.approx(0.1)
    factors = [schedule.factor(step, TOTAL) for step in range(TOTAL)]
    assert factors == sorted(factors, reverse=True)


def test_constant_stays_at_the_peak():
    assert {Constant(warmup_steps=2).factor(step, TOTAL) for step in range(2, TOTAL)} == {1.0}


def test_cosine_is_torchs_cosine_annealing():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=TOTAL - 1, eta_min=0.2)
    for step in range(TOTAL):
        assert Cosine(floor=0.2).factor(step, TOTAL) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        reference.step()


def test_wsd_holds_the_peak_until_its_decay_begins():
    schedule = WarmupStableDecay(decay=0.2)
    assert schedule.factor(39, TOTAL) == 1.0
    assert schedule.factor(40, TOTAL) < 1.0


def test_a_factor_depends_on_nothing_but_the_step():
    schedule = Cosine(warmup_steps=3)
    assert schedule.factor(17, TOTAL) == schedule.factor(17, TOTAL)
    assert not math.isclose(schedule.factor(17, TOTAL), schedule.factor(18, TOTAL))
