"""Ray's PB2, without its blind copies, on the steps of each range and within the constraints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers.pb2 import PB2

from trainshed.runtime.tuning.scheduling.mutation import made_possible
from trainshed.spec.sweep.possible import Possible
from trainshed.spec.sweep.space import Range


class Bandit(PB2):  # type: ignore[misc]
    """A member goes on from one that has been looked at twice: before, the bandit has nothing to choose changes by.

    Ray's own gives the copy the very settings of the other, and with the same seed the two are twins to the end.
    """

    def __init__(
        self, space: dict[str, Range], possible: Possible, failed: Callable[[Trial], bool], **options: Any
    ) -> None:
        super().__init__(**options)
        self.data: Any  # Ray's table of who gained what with which settings
        self._space = space
        self._possible = possible
        self._failed = failed

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """What a member gained before it failed is nothing to choose changes by."""
        super().on_trial_complete(tune_controller, trial, result)
        if self._failed(trial) and len(self.data):
            self.data = self.data[self.data["Trial"] != str(trial)].reset_index(drop=True)

    def _get_new_config(self, trial: Trial, trial_to_clone: Trial) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the bandit has chosen, where it can be a trial; it learns from what the member really got."""
        looks = len(self.data)
        config, done = super()._get_new_config(trial, trial_to_clone)
        other = trial_to_clone.config["settings"]
        settings = made_possible(self._possible, self._space, config["settings"], else_=other)
        flat = [settings[path] for path in self._space]
        if len(self.data) > looks:
            self.data.loc[self.data.index[-1], list(self._hyperparam_bounds_flat)] = flat
        self.current[-1] = flat
        return {**config, "settings": settings}, done

    def _quantiles(self) -> tuple[list[Trial], list[Trial]]:
        """The members at the bottom and at the top."""
        bottom, top = super()._quantiles()
        known = [trial for trial in top if (self.data["Trial"] == str(trial)).sum() > 1]
        return (bottom, known) if known else ([], [])
