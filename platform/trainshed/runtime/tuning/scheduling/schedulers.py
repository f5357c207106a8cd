"""Which trials go on: a job's `stop_early` in Ray Tune's words. Time is the optimizer step that a trial reports."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, assert_never

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from trainshed.record.trials import number_of
from trainshed.runtime.tuning.scheduling.rules import Halving, Median, Population
from trainshed.spec.sweep.possible import Possible
from trainshed.spec.sweep.space import ends
from trainshed.spec.sweep.stopping import Asha, Hyperband, NoStop, Pb2, Pbt
from trainshed.spec.sweep.stopping import Median as MedianStop
from trainshed.spec.sweep.tune import TuneJob

TIME = "step"


def scheduler_of(
    job: TuneJob, possible: Possible | None = None, *, failed: Callable[[int], bool] | None = None
) -> TrialScheduler:
    """The scheduler of a sweep. `possible` counts what a population's changes come to that cannot be a trial; `failed`
    says of a trial that has ended, by its number, whether it failed."""
    steps = job.steps_of_a_trial
    policy = job.stop_early
    possible = possible or Possible(job)

    def has_failed(trial: Trial) -> bool:
        return failed is not None and failed(number_of(str(trial)))

    match policy:
        case NoStop():
            return FIFOScheduler()
        case Asha():
            return Halving(
                has_failed,
                time_attr=TIME,
                max_t=steps,
                grace_period=policy.grace_steps,
                reduction_factor=policy.reduction,
            )
        case Hyperband():
            return Halving(
                has_failed,
                time_attr=TIME,
                max_t=steps,
                grace_period=policy.grace_steps,
                reduction_factor=policy.reduction,
                brackets=policy.brackets,
            )
        case MedianStop():
            return Median(
                has_failed,
                time_attr=TIME,
                grace_period=policy.grace_steps,
                min_samples_required=policy.min_trials,
            )
        case Pbt():
            return Population(
                possible,
                policy.resample,
                burn_in_period=policy.interval_steps,
                hyperparam_mutations={"settings": dict.fromkeys(job.space, _any_value)},
                **_looks(policy),
            )
        case Pb2():
            from trainshed.runtime.tuning.scheduling.pb2 import (
                Bandit,  # scikit-learn: a second, which no other policy pays
            )

            bounds = {path: [float(str(end)) for end in ends(values)] for path, values in job.space.items()}
            return Bandit(job.space, possible, has_failed, hyperparam_bounds={"settings": bounds}, **_looks(policy))
        case _:
            assert_never(policy)


def seeded(job: TuneJob) -> None:
    """Tune's schedulers draw from Python's and numpy's global random numbers."""
    import numpy as np

    seed = getattr(job.search, "seed", 0)
    random.seed(seed)
    np.random.seed(seed)


def _looks(policy: Pbt | Pb2) -> dict[str, Any]:
    """The intervals of a population. A member that fails before its first figure ends nobody else."""
    return {
        "time_attr": TIME,
        "perturbation_interval": policy.interval_steps,
        "quantile_fraction": policy.quantile,
        "require_attrs": False,
    }


def _any_value() -> None:
    """Ray asks how each setting is drawn, and never draws one here."""
