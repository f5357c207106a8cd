"""How long is waited: by the limit of a quiet machine, its load, and what the same took before."""

import pytest

from trainshed.patience import Wait, patience


@pytest.mark.parametrize(
    ("base_s", "load", "took_s", "seconds", "words"),
    [
        (10, 0.0, 0.0, 10, "10 s"),
        (10, 1.0, 3.0, 10, "10 s"),
        (10, 7.5, 0.0, 75, "75 s (10 s at a load of 7.5 per core)"),
        (10, 2.0, 20.0, 60, "60 s (10 s; it took 20 s before)"),
        (10, 6.0, 20.0, 60, "60 s (10 s at a load of 6.0 per core)"),
        (120, 30.0, 0.0, 2400, "2400 s (120 s at a load of 30.0 per core)"),
        (10, 0.0, 9000.0, 200, "200 s (10 s; it took 9000 s before)"),
    ],
)
def test_a_limit_grows_with_load_and_with_what_it_took_before_and_has_an_end(base_s, load, took_s, seconds, words):
    limit = patience(base_s, load=load, took_s=took_s)
    assert (limit.seconds, str(limit)) == (seconds, words)


def test_a_wait_grows_while_the_machine_gets_busier_and_does_not_shrink_again():
    now, load = [0.0], [0.5]
    wait = Wait(10, clock=lambda: now[0], load=lambda: load[0])
    now[0] = 9.0
    assert not wait.over
    load[0], now[0] = 4.0, 39.0
    assert not wait.over
    load[0] = 0.5
    assert (wait.over, str(wait)) == (False, "40 s (10 s at a load of 4.0 per core)")
    now[0] = 41.0
    assert wait.over


def test_a_limit_that_somebody_gave_is_that_limit():
    now = [0.0]
    wait = Wait(10, took_s=100, exact=True, clock=lambda: now[0], load=lambda: 9.0)
    now[0] = 11.0
    assert (wait.over, str(wait)) == (True, "10 s")
