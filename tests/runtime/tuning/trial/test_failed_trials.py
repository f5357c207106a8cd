"""A trial that failed is worse than every one that did not: to each search, to early stopping, and after a resume."""

import itertools
import math
import threading

import numpy as np
import pytest
from ray import cloudpickle
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from job_texts import TUNE, changed
from trainshed.errors import FailureKind
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.trial_facts import TrialEnd, TrialState
from trainshed.record.trials import TrialFiles
from trainshed.runtime.tuning.scheduling.schedulers import scheduler_of
from trainshed.runtime.tuning.search.searcher import Numbered
from trainshed.runtime.tuning.sweep import _failing
from trainshed.runtime.tuning.trial.failure_kinds import failed_by_itself
from trainshed.spec.load import job_from_data

WHOLE = {"seeds": 4, "trials": 40, "last": 20}
SHORT = {"seeds": 1, "trials": 24, "last": 12}
"""For the Gaussian process, which takes a fifth of a second a trial."""
SPACE = {
    "optimizer.learning_rate": {"log_uniform": [1e-4, 3e-2]},
    "optimizer.weight_decay": {"uniform": [0.0, 0.3]},
    "model.layers": {"integer": [1, 4]},
}
TOO_HIGH = 3e-3


def value_of(settings):
    """The best rate lies just under those that fail."""
    return abs(math.log10(settings["optimizer.learning_rate"] / 2.5e-3)) + settings["optimizer.weight_decay"]


def failures_of(kind, *, seeds, trials, last):
    """How many of the last trials failed, before their first figure or after one that looked good."""
    return sum(number >= trials - last for seed in range(seeds) for number in failures_in(kind, seed, trials))


def failures_in(kind, seed, trials):
    job = job_from_data(changed(TUNE, space=SPACE, search={"kind": kind, "trials": trials, "seed": seed}))
    failed = set()
    asked = Numbered(job, {}, [], failed=failed.__contains__)
    for number in range(trials):
        settings = asked.suggest(str(number))["settings"]
        if settings["optimizer.learning_rate"] > TOO_HIGH:
            failed.add(number)
            asked.on_trial_complete(str(number), {"validation_loss": -1.0, "step": 5} if number % 2 else {})
        else:
            asked.on_trial_complete(str(number), {"validation_loss": value_of(settings), "step": 10})
    return failed


@pytest.mark.parametrize(
    ("kind", "sweeps"), [("tpe", WHOLE), ("gp", SHORT), ("cma_es", WHOLE), ("genetic", WHOLE), ("evolution", WHOLE)]
)
def test_a_search_keeps_out_of_a_region_that_fails(kind, sweeps):
    at_random = failures_of("random", **sweeps)
    assert 0.3 <= at_random / (sweeps["seeds"] * sweeps["last"]) <= 0.6
    assert failures_of(kind, **sweeps) <= at_random


@pytest.mark.parametrize(
    ("kind", "goal", "value"),
    [
        *itertools.product(
            ["tpe", "cma_es", "genetic", "evolution"],
            ["minimize", "maximize"],
            [3.0, math.nan, math.inf, -math.inf, None],
        ),
        ("gp", "minimize", 3.0),
        ("gp", "maximize", math.nan),
    ],
)
def test_no_figure_of_a_failed_trial_is_taken_for_a_good_one(kind, value, goal):
    """Whatever it had measured last, the search goes on as if it had measured nothing."""

    def handed(last, tells):
        search = {"kind": kind, "trials": 14, **({"random_trials": 6} if kind in ("tpe", "gp") else {})}
        asked = Numbered(
            job_from_data(changed(TUNE, space=SPACE, search=search, goal=goal)), {}, [], failed={3, 7}.__contains__
        )
        found = []
        for number in range(10):
            found.append(asked.suggest(str(number))["settings"])
            result = last if number in (3, 7) else {"validation_loss": value_of(found[-1]), "step": 10}
            if number in (3, 7) and tells:
                asked.on_trial_result(str(number), {"validation_loss": -9.0 if goal == "minimize" else 9.0, "step": 5})
            asked.on_trial_complete(str(number), result)
        return found

    last = {} if value is None else {"validation_loss": value, "step": 10}
    assert handed(last, tells=True) == handed({}, tells=False)


@pytest.mark.parametrize("kind", list(FailureKind))
def test_a_failure_counts_by_its_kind_and_what_is_lost_teaches_nothing(kind, tmp_path):
    trial = TrialFiles(Storage.open(tmp_path), "sweep", 3)
    assert not failed_by_itself(trial), "it runs"
    trial.end(TrialEnd(state=TrialState.FAILED, kind=kind, cause="so it was"))
    assert failed_by_itself(trial) == (kind is not FailureKind.LOST)
    trial.end(TrialEnd(state=TrialState.ENDED))
    assert not failed_by_itself(trial)


@pytest.mark.parametrize("kind", ["none", "asha", "median", "pbt", "pb2"])
def test_what_ray_tune_is_handed_can_be_pickled_with_its_own_state(kind, tmp_path):
    """Tune writes searcher and scheduler down before the first trial, and fails where it cannot."""
    record, lock = Record(Storage.open(tmp_path), "sweep-1"), threading.Lock()
    policy = {"asha": LOOK, "median": RULES["median"]}.get(kind, {"kind": kind, "interval_steps": 10})
    job = job_with(policy if kind != "none" else {"kind": "none"}, search={"kind": "random", "trials": 4})
    asked = Numbered(job, {}, [], failed=_failing(record), sink=lambda event: lock.acquire())
    assert cloudpickle.loads(cloudpickle.dumps(scheduler_of(job, asked.possible, failed=_failing(record))))
    assert cloudpickle.dumps(asked)
    assert asked.suggest("0")["number"] == 0


def job_with(stop_early, **values):
    every = {"train__validation": {"every_steps": 5}, "train__steps": 40}
    return job_from_data(changed(TUNE, stop_early=stop_early, **every, **values))


def ray_trial(number):
    trial = Trial("sweep", stub=True, trial_id=f"{number:05d}")
    trial.custom_trial_name = f"trial-{number:05d}"
    return trial


MANY = 30
LOOK = {"kind": "asha", "grace_steps": 10, "reduction": 2}
RULES = {
    "asha": LOOK,
    "hyperband": {**LOOK, "kind": "hyperband", "brackets": 2},
    "median": {"kind": "median", "grace_steps": 10, "min_trials": 2},
}


def decision(rule, failed, *, fails_after=True):
    """Many trials look good and fail, as many look worse and end; what becomes of one that is among the better ones."""
    scheduler = scheduler_of(job_with(RULES[rule]), failed=failed.__contains__)
    scheduler.set_search_properties("validation_loss", "min")
    np.random.seed(0)  # Ray draws the brackets with it
    good = [(number, 1.0) for number in range(MANY)] if fails_after else []
    for number, loss in [*good, *[(MANY + n, 4.0 + n / 100) for n in range(MANY)]]:
        trial = ray_trial(number)
        scheduler.on_trial_add(None, trial)
        look = {"step": 20, "validation_loss": loss}
        scheduler.on_trial_result(None, trial, look)
        scheduler.on_trial_complete(None, trial, look)
    last = ray_trial(2 * MANY)
    scheduler.on_trial_add(None, last)
    return scheduler.on_trial_result(None, last, {"step": 20, "validation_loss": 4.05})


@pytest.mark.parametrize("rule", RULES)
def test_nobody_is_measured_by_what_a_failed_trial_had_looked_like(rule):
    assert decision(rule, set(range(MANY))) == decision(rule, set(), fails_after=False) == TrialScheduler.CONTINUE
    assert decision(rule, set()) == TrialScheduler.STOP, "had they ended, it would be the worse one"


def test_a_trial_that_measured_nothing_does_not_end_others_by_the_median_rule():
    scheduler = scheduler_of(job_with(RULES["median"]), failed={0}.__contains__)
    scheduler.set_search_properties("validation_loss", "min")
    trials = [ray_trial(number) for number in range(4)]
    for trial in trials:
        scheduler.on_trial_add(None, trial)
    scheduler.on_trial_complete(None, trials[0], {})
    for trial in trials[1:]:
        look = {"step": 10, "validation_loss": 4.0}
        assert scheduler.on_trial_result(None, trial, look) == TrialScheduler.CONTINUE
