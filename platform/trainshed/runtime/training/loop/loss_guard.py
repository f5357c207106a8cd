"""Finds a loss or gradient that is NaN, infinite or a spike, from the losses before; `rollback` acts on it.

A spike is measured in standard deviations of the steps before, as the loss-spike detectors of large trainings do
(PaLM, arXiv 2204.02311, section 5.1, goes back and around the batches by hand).
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from enum import StrEnum

from trainshed.spec.training.saving import Recovery


class LossFault(StrEnum):
    """What is wrong with a step."""

    NOT_A_NUMBER = "not a number"
    """Its loss, or the norm of its gradient."""
    SPIKE = "leap"


SMALLEST_SPIKE = 1.5
"""A spike is at least this multiple of the mean, however quiet the steps before were."""


class LossGuard:
    """Watches the global loss; the same on every worker, since the loss is."""

    def __init__(self, policy: Recovery) -> None:
        self._policy = policy
        self._recent: deque[float] = deque(maxlen=policy.spike_window)

    def judge(self, loss: float, grad_norm: float) -> LossFault | None:
        """What is wrong with a step; None: nothing, and it counts for those to come."""
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            return LossFault.NOT_A_NUMBER
        if self._spikes(loss):
            return LossFault.SPIKE
        self._recent.append(loss)
        return None

    def forget(self) -> None:
        """The steps before are taken back."""
        self._recent.clear()

    def _spikes(self, loss: float) -> bool:
        sigmas = self._policy.spike_sigmas
        if sigmas is None or len(self._recent) < self._policy.spike_window:
            return False
        mean = statistics.fmean(self._recent)
        deviation = statistics.pstdev(self._recent)
        return loss > max(mean + sigmas * deviation, SMALLEST_SPIKE * mean)
