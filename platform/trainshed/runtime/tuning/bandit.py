"""Ray's PB2, without its blind copies."""

from __future__ import annotations

from ray.tune.experiment import Trial
from ray.tune.schedulers.pb2 import PB2


class Bandit(PB2):  # type: ignore[misc]
    """A member goes on from one that has been looked at twice: before, the bandit has nothing to choose changes by.

    Ray's own gives the copy the very settings of the other, and with the same seed the two are twins to the end.
    """

    def _quantiles(self) -> tuple[list[Trial], list[Trial]]:
        """The members at the bottom and at the top."""
        bottom, top = super()._quantiles()
        known = [trial for trial in top if (self.data["Trial"] == str(trial)).sum() > 1]
        return (bottom, known) if known else ([], [])
