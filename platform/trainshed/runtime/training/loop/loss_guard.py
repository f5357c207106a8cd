"""Is this loss still one, and its gradient? Says so from the losses before; what follows is the loop's business.

A leap is measured in standard deviations of the steps before, as the loss-spike detectors of large trainings do
(PaLM, arXiv 2204.02311, section 5.1, goes back and around the batches by hand).
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from enum import StrEnum

from trainshed.spec.training.saving import Recovery


class Verdict(StrEnum):
    """What is wrong with a step."""

    NO_NUMBER = "not a number"
    """Its loss, or the norm of its gradient."""
    LEAP = "leap"


SMALLEST_LEAP = 1.5
"""A leap is at least this multiple of the mean, however quiet the steps before were."""


class LossGuard:
    """Watches the global loss; the same on every worker, since the loss is."""

    def __init__(self, policy: Recovery) -> None:
        self._policy = policy
        self._recent: deque[float] = deque(maxlen=policy.spike_window)

    def verdict(self, loss: float, grad_norm: float) -> Verdict | None:
        """What is wrong with a step; None: nothing, and it counts for those to come."""
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            return Verdict.NO_NUMBER
        if self._leaps(loss):
            return Verdict.LEAP
        self._recent.append(loss)
        return None

    def forget(self) -> None:
        """The steps before are taken back."""
        self._recent.clear()

    def _leaps(self, loss: float) -> bool:
        sigmas = self._policy.spike_sigmas
        if sigmas is None or len(self._recent) < self._policy.spike_window:
            return False
        mean, deviation = statistics.fmean(self._recent), statistics.pstdev(self._recent)
        return loss > max(mean + sigmas * deviation, SMALLEST_LEAP * mean)
