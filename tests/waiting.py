"""Waiting for a condition, with a limit."""

import time


def wait_for(condition, *, limit_s=120, every_s=0.2):
    """The first true value of `condition()`; fails after the limit."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(every_s)
    raise AssertionError(f"not within {limit_s} s")
