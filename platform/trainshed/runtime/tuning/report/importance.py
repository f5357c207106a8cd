"""How much of what differs between trials each setting explains: fANOVA (Hutter et al. 2014), by Optuna."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from trainshed.record.facts import is_measured
from trainshed.record.trial_facts import TrialResult, TrialState
from trainshed.spec.sweep.space import Choice, Integer, LogUniform, Normal, Range, Uniform
from trainshed.spec.sweep.tune import TuneJob

FEWEST = 4


def importances(job: TuneJob, trials: Sequence[TrialResult]) -> tuple[dict[str, float], str]:
    """Path to share, the largest first, over the trials that came as far as the furthest; else why there are none.

    Only settings that every trial has can be compared: those that hang on others are left out.
    """
    measured = [trial for trial in trials if is_measured(trial.value) and trial.state == TrialState.ENDED]
    common = [path for path in job.space if all(path in trial.settings for trial in measured)]
    if len(measured) < FEWEST:
        return {}, f"{len(measured)} trials ran to their end; {FEWEST} or more are needed"
    if len({trial.value for trial in measured}) == 1 or not common:
        return {}, "the trials do not differ in what could be compared"
    direction = optuna.study.StudyDirection.MINIMIZE if job.mode == "min" else optuna.study.StudyDirection.MAXIMIZE
    study = optuna.create_study(direction=direction)
    for trial in measured:
        params = {path: _plain(job.space[path], trial.settings[path]) for path in common}
        distributions = {path: _distribution(job.space[path], params[path]) for path in common}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=trial.value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator)), ""


def _plain(values: Range, value: Any) -> Any:
    if not isinstance(values, Choice):
        return value
    option = values.choice[values.choice.index(value)]  # 0.0 is the option 0, and JSON writes them in two ways
    return json.dumps(option, sort_keys=True)


def _distribution(values: Range, value: Any) -> BaseDistribution:
    match values:
        case Uniform(uniform=(low, high)):
            return FloatDistribution(min(low, value), max(high, value))
        case LogUniform(log_uniform=(low, high)):
            return FloatDistribution(min(low, value), max(high, value), log=True)
        case Integer(integer=(low, high)):
            return IntDistribution(low, high)
        case Normal(within=(low, high)):
            return FloatDistribution(low, high)
        case Choice(choice=options):
            return CategoricalDistribution([json.dumps(option, sort_keys=True) for option in options])
