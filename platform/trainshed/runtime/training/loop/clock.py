"""Where the time of a step goes, by what is done. A GPU is waited for at every `SYNC_EVERY`th step only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

SYNC_EVERY = 16
STAGES = ("input", "forward", "backward", "step", "checkpoint")


class StepClock:
    """Seconds of each stage of the step that runs now."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._exact = True
        self._steps = 0
        self._seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds what happens inside to a stage."""
        began = self._now()
        try:
            yield
        finally:
            self._seconds[name] += self._now() - began

    def split(self) -> dict[str, float]:
        """`{"input_s": ...}` of the step that ends now, and a fresh start; empty where it was not measured."""
        seconds = self._seconds
        exact = self._exact
        self._steps += 1
        self._exact = not self._cuda or self._steps % SYNC_EVERY == 0
        self._seconds = dict.fromkeys(STAGES, 0.0)
        return {f"{name}_s": round(value, 6) for name, value in seconds.items()} if exact else {}

    def _now(self) -> float:
        if self._cuda and self._exact:
            torch.cuda.synchronize()
        return time.perf_counter()
