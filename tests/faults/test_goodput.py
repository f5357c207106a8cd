"""A fault every three minutes: how much of the time is spent on steps that count. Prints and keeps P5."""

import random
import time

import pytest

from faults.conftest import ended
from faults.figures import keep
from faults.test_training_survives import inject
from waiting import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

WINDOW_S = 180
FAULTS = [("killed", 0, 9), ("killed", 1, 9), ("driver killed", None, "driver")]
ENOUGH_STEPS = 1_000_000


def test_goodput_at_one_fault_in_three_minutes(platform, start):
    run = start("interrupted", steps=ENOUGH_STEPS)
    drawn = random.Random(5)
    began, shares = time.time(), []
    for number, (name, worker, how) in enumerate(FAULTS):
        opens = began + number * WINDOW_S
        at = opens + drawn.uniform(30, 90)
        wait_for(lambda at=at: time.time() >= at, limit_s=WINDOW_S)
        inject(run, worker, how)
        wait_for(lambda opens=opens: time.time() >= opens + WINDOW_S, limit_s=WINDOW_S + 5)
        shares.append(useful_s(run.rows, opens, opens + WINDOW_S) / WINDOW_S)
        print(f"{name}: {100 * shares[-1]:.1f} % of {WINDOW_S} s", flush=True)
    assert len(run.notes("resumed")) == len(FAULTS)
    platform.run("stop", run.run_id)
    assert ended(run)["state"] == "stopped"
    keep("P5", f"time spent on steps that count, at one fault per {WINDOW_S} s, %", ">= 90", [100 * x for x in shares])


def useful_s(rows, opens, closes):
    """Seconds of the steps that stand in metrics.jsonl, each once, without what they waited for checkpoints."""
    counted = [row for row in rows if opens <= row["time"] < closes]
    return sum(row["step_time_s"] - row["checkpoint_s"] for row in counted)
