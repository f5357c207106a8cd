"""Ray Tune's schedulers with what a sweep asks of them besides: a trial that failed is no measure for the others.

Such a trial returns as one that has ended, since Ray would start it again otherwise; what it had measured until then
would stand among the figures that decide who goes on. `failed` says of a trial of Ray's whether it failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from trainshed.runtime.tuning.scheduling.mutation import mutated
from trainshed.spec.sweep.possible import Possible

Failed = Callable[[Trial], bool]


class Halving(AsyncHyperBandScheduler):  # type: ignore[misc]
    """Successive halving: a failed trial leaves the rungs that it had come to."""

    def __init__(self, failed: Failed, **options: Any) -> None:
        super().__init__(**options)
        self._failed = failed

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """A trial is over."""
        if not self._failed(trial):
            super().on_trial_complete(tune_controller, trial, result)
            return
        for bracket in self._brackets:
            for _, recorded in bracket._rungs:
                recorded.pop(trial.trial_id, None)


class Median(MedianStoppingRule):  # type: ignore[misc]
    """Ray's rule, without its pauses: a trial that has no others to be compared with yet goes on.

    Ray's own would give way to a trial that waits, which costs a process each time and nothing is gained by it.
    """

    def __init__(self, failed: Failed, **options: Any) -> None:
        super().__init__(**options)
        self._failed = failed

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """A trial is over. One that has measured nothing must not stand among the others either: Ray's own looks for
        the step of its last figure there."""
        if self._failed(trial) or self._time_attr not in result:
            self._results.pop(trial, None)
        else:
            super().on_trial_complete(tune_controller, trial, result)

    def _on_insufficient_samples(self, tune_controller: Any, trial: Any, time: float) -> str:  # noqa: ARG002
        return str(TrialScheduler.CONTINUE)


class Population(PopulationBasedTraining):  # type: ignore[misc]
    """Ray's population, whose members change as `mutation` has it. One that failed has ended, and gives no weights."""

    def __init__(self, possible: Possible, resample: float, **options: Any) -> None:
        super().__init__(**options)
        self._possible = possible
        self._resample = resample

    def _get_new_config(self, trial: Trial, trial_to_clone: Trial) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ARG002
        """The other's settings, changed."""
        config = trial_to_clone.config
        return {**config, "settings": mutated(self._possible, config["settings"], resample=self._resample)}, {}
