"""Which trials go on: a job's `stop_early` in Ray Tune's words. Time is the optimizer step that a trial reports."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, assert_never

from ray import tune
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from trainshed.spec.space import Choice, Integer, LogUniform, Normal, Range, Uniform, ends
from trainshed.spec.stopping import Asha, Hyperband, Median, NoStop, Pb2, Pbt
from trainshed.spec.tune import TuneJob

TIME = "step"


def scheduler_of(job: TuneJob) -> TrialScheduler:
    """The scheduler of a sweep."""
    steps, policy = job.steps_of_a_trial, job.stop_early
    match policy:
        case NoStop():
            return FIFOScheduler()
        case Asha():
            return AsyncHyperBandScheduler(
                time_attr=TIME, max_t=steps, grace_period=policy.grace_steps, reduction_factor=policy.reduction
            )
        case Hyperband():
            return AsyncHyperBandScheduler(
                time_attr=TIME,
                max_t=steps,
                grace_period=policy.grace_steps,
                reduction_factor=policy.reduction,
                brackets=policy.brackets,
            )
        case Median():
            return _Median(time_attr=TIME, grace_period=policy.grace_steps, min_samples_required=policy.min_trials)
        case Pbt():
            return PopulationBasedTraining(
                time_attr=TIME,
                perturbation_interval=policy.interval_steps,
                burn_in_period=policy.interval_steps,
                hyperparam_mutations={"settings": {path: _domain(values) for path, values in job.space.items()}},
                quantile_fraction=policy.quantile,
                resample_probability=policy.resample,
                custom_explore_fn=lambda config: _kept_within(job.space, config),
            )
        case Pb2():
            from trainshed.runtime.tuning.bandit import Bandit  # scikit-learn: a second, which no other policy pays

            bounds = {path: [float(str(end)) for end in ends(values)] for path, values in job.space.items()}
            return Bandit(
                time_attr=TIME,
                perturbation_interval=policy.interval_steps,
                hyperparam_bounds={"settings": bounds},
                quantile_fraction=policy.quantile,
                custom_explore_fn=lambda config: _kept_within(job.space, config),
            )
        case _:
            assert_never(policy)


class _Median(MedianStoppingRule):  # type: ignore[misc]
    """Ray's rule, without its pauses: a trial that has no others to be compared with yet goes on.

    Ray's own would give way to a trial that waits, which costs a process each time and nothing is gained by it.
    """

    def _on_insufficient_samples(self, tune_controller: Any, trial: Any, time: float) -> str:  # noqa: ARG002
        return str(TrialScheduler.CONTINUE)


def seeded(job: TuneJob) -> None:
    """Tune's schedulers draw from Python's and numpy's global random numbers."""
    import numpy as np

    seed = getattr(job.search, "seed", 0)
    random.seed(seed)
    np.random.seed(seed)


def _domain(values: Range) -> Any:
    match values:
        case Uniform(uniform=(low, high)):
            return tune.uniform(low, high)
        case LogUniform(log_uniform=(low, high)):
            return tune.loguniform(low, high)
        case Integer(integer=(first, last)):
            return tune.randint(first, last + 1)
        case Normal(normal=(mean, deviation)):
            return tune.randn(mean, deviation)
        case Choice(choice=options):
            return list(options)
        case _:
            assert_never(values)


def _kept_within(space: Mapping[str, Range], config: dict[str, Any]) -> dict[str, Any]:
    """A changed setting is put back into its range: a factor of 1.2 knows no bounds."""
    settings = dict(config["settings"])
    for path, values in space.items():
        if isinstance(values, Choice):
            continue
        low, high = (float(str(end)) for end in ends(values))
        value = min(high, max(low, float(settings[path])))
        settings[path] = round(value) if isinstance(values, Integer) else value
    return {**config, "settings": settings}
