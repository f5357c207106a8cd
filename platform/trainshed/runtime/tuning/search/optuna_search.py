"""The searches that Optuna does: one study and one sampler for a sweep, asked through the define-by-run interface, so
that settings that hang on other settings are drawn as such.

A driver that goes on after another asks again for every trial that has begun before, in the order of numbers, so that
the sampler's random numbers and its generations stand where they stood. Where it now draws something else (trials may
end in another order) the trial keeps what it was given, and the sampler is told so.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, assert_never

import optuna
from optuna.trial import TrialState
from pydantic import JsonValue

from trainshed.spec.sweep.possible import Pick, Possible, Settings, key
from trainshed.spec.sweep.range_values import count, nearest, point
from trainshed.spec.sweep.search import CmaEs, GaussianProcess, Genetic, Tpe
from trainshed.spec.sweep.space import Choice, Integer, LogUniform, Normal, Range, Uniform
from trainshed.spec.sweep.tune import TuneJob

Sampled = Tpe | GaussianProcess | CmaEs | Genetic
"""Searches that Optuna does."""

ATTEMPTS = 5
"""So often a sampler is asked again where it says what was tried before or cannot be; then chance decides."""


class Learning:
    """What was told decides what is drawn next."""

    def __init__(
        self, job: TuneJob, search: Sampled, possible: Possible, earlier: list[tuple[Settings, float]]
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # of what failed it warns that it is infinitely bad
        self._job = job
        self._search = search
        self._possible = possible
        self._trials: dict[int, optuna.Trial] = {}
        self._tried: set[str] = set()
        direction = optuna.study.StudyDirection.MINIMIZE if job.mode == "min" else optuna.study.StudyDirection.MAXIMIZE
        self._study = optuna.create_study(direction=direction, sampler=sampler_of(search))
        for settings, value in earlier:
            self._study.tell(self._given_trial(settings), value)

    def settings(self, number: int, recorded: Settings | None) -> Settings | None:
        """What the sampler draws, or what the trial had before."""
        start = self._search.start_with
        found = self._drawn(number, start[number]) if number < len(start) else None
        if found is None:
            found = self._drawn(number, {})
        if recorded is not None and recorded != found:
            self._forget(number)
            self._trials[number] = self._given_trial(recorded)
            found = recorded
        if found is not None:
            self._tried.add(key(found))
        return found

    def tell(self, number: int, value: float | None) -> None:
        """A trial that failed by its settings is an infinitely bad one. Samplers that go by ranks have it last of all;
        the Gaussian process takes it for as bad as the worst that was measured, and is not bent by a number of ours."""
        trial = self._trials.pop(number, None)
        if trial is None:
            return
        if value is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, value)

    def _drawn(self, number: int, given: Settings) -> Settings | None:
        """Settings that were not tried yet, with some given; None: there are none."""
        for _ in range(ATTEMPTS):
            if given:
                self._study.enqueue_trial(dict(_encoded(self._job.space, given)))
            self._trials[number] = trial = self._study.ask()
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Clip non-finite values")  # they are what failed
                settings = self._possible.drawn(_picked_by(trial, given))
            if settings is not None and key(settings) not in self._tried:
                return settings
            self._forget(number)
        other = self._possible.not_among(self._tried, random.Random(f"{self._search.seed}/{number}"), given)
        if other is not None:
            self._trials[number] = self._given_trial(other)
        return other

    def _forget(self, number: int) -> None:
        if (trial := self._trials.pop(number, None)) is not None:
            self._study.tell(trial, state=TrialState.FAIL)

    def _given_trial(self, settings: Settings) -> optuna.Trial:
        """A trial whose settings somebody else has chosen."""
        self._study.enqueue_trial(dict(_encoded(self._job.space, settings)))
        trial = self._study.ask()
        pick = _picked_by(trial, settings)
        for path, values in self._job.space.items():
            if path in settings:
                pick(path, values)
        return trial


def sampler_of(search: Sampled) -> optuna.samplers.BaseSampler:
    """Optuna's sampler of a search."""
    with warnings.catch_warnings():  # Optuna calls settings of some of them experimental
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match search:
            case Tpe(random_trials=first, seed=seed):
                return optuna.samplers.TPESampler(
                    n_startup_trials=first, multivariate=True, group=True, constant_liar=True, seed=seed
                )
            case GaussianProcess(random_trials=first, seed=seed):
                return optuna.samplers.GPSampler(n_startup_trials=first, seed=seed, warn_independent_sampling=False)
            case CmaEs(random_trials=first, seed=seed):
                return optuna.samplers.CmaEsSampler(n_startup_trials=first, seed=seed, warn_independent_sampling=False)
            case Genetic(population=size, seed=seed):
                return optuna.samplers.NSGAIISampler(population_size=size, seed=seed)
            case _:
                assert_never(search)


def _picked_by(trial: optuna.Trial, given: Settings) -> Pick:
    """What the trial suggests; a given setting to its last digit, and the trial knows of it."""

    def pick(path: str, values: Range) -> JsonValue:
        suggested = _suggested(trial, path, values)
        return given.get(path, suggested)

    return pick


def _suggested(trial: optuna.Trial, path: str, values: Range) -> JsonValue:
    match values:
        case Uniform(uniform=(low, _), step=float(step)):
            high = float(str(point(values, (count(values) or 1) - 1)))
            return nearest(values, trial.suggest_float(path, low, high, step=step))
        case Uniform(uniform=(low, high)):
            return trial.suggest_float(path, low, high)
        case LogUniform(log_uniform=(low, high)):
            return trial.suggest_float(path, low, high, log=True)
        case Integer(integer=(first, _), step=step, log=log):
            last = int(str(point(values, (count(values) or 1) - 1)))
            return trial.suggest_int(path, first, last, step=step, log=log)
        case Normal():
            return values.at_share(trial.suggest_float(path, 0.0, 1.0))
        case Choice(choice=options):
            labels = {_label(option): option for option in options}
            return labels[trial.suggest_categorical(path, list(labels))]
        case _:
            assert_never(values)


def _encoded(space: Mapping[str, Range], settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Settings as Optuna's parameters; what is not in the space is left out."""
    for path in space:
        if path not in settings:
            continue
        values = space[path]
        value = settings[path]
        match values:
            case Normal():
                yield path, values.share_of(value)
            case Choice():
                yield path, _label(value)
            case _:
                yield path, nearest(values, value)


def _label(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True)
