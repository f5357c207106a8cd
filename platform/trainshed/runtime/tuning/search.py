"""Which settings each trial gets. A trial is its number: its settings hang on the sweep's seed, that number, and what
the trials before it came to; never on when it was asked for, or by which driver.

Speaks Ray Tune's `Searcher`. Random search and the grid need nothing but the number; what learns from trials is Optuna,
asked through its define-by-run interface, so that settings that hang on other settings are drawn as such, or, in
`evolution.py`, nevergrad.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, assert_never

import optuna
from optuna.trial import TrialState
from pydantic import JsonValue
from ray.tune.search import Searcher

from trainshed.record.trials import is_measured
from trainshed.runtime.tuning.curves import Curves
from trainshed.spec.search import CmaEs, Evolution, GaussianProcess, Genetic, GridSearch, RandomSearch, Tpe
from trainshed.spec.space import Choice, Integer, LogUniform, Normal, Range, Uniform, draw, grid
from trainshed.spec.space_check import pick_at_random
from trainshed.spec.tune import TuneJob

Settings = dict[str, JsonValue]
Sampled = Tpe | GaussianProcess | CmaEs | Genetic
"""Searches that Optuna does."""

ATTEMPTS = 10
"""So often a search that learns is asked again where it says what was tried before."""


class Numbered(Searcher):  # type: ignore[misc]
    """Hands out `{"number": n, "settings": {...}}`. `recorded` are the settings of trials that have begun before."""

    def __init__(self, job: TuneJob, recorded: Mapping[int, Settings], earlier: list[tuple[Settings, float]]) -> None:
        super().__init__(metric=job.metric, mode=job.mode)
        self._job = job
        self._recorded = recorded
        self._numbers: dict[str, int] = {}
        self._curves = Curves(job.steps_of_a_trial)
        self._chooser = _chooser(job, earlier)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial's settings."""
        number = len(self._numbers)
        if number >= self._job.trials:
            return str(Searcher.FINISHED)
        self._numbers[trial_id] = number
        return {"number": number, "settings": self._chooser.settings(number, self._recorded.get(number))}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """One look at a trial."""
        value: Any = result.get(self._job.metric)
        if is_measured(value):
            self._curves.add(self._numbers[trial_id], int(result.get("step", 0)), float(value))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """What a trial came to, if it came to anything; one that ended early, what it would have come to."""
        number = self._numbers[trial_id]
        if error or result is None or not is_measured(result.get(self._job.metric)):
            self._chooser.tell(number, None)
            return
        self.on_trial_result(trial_id, result)
        self._chooser.tell(number, self._curves.end(number))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the Record has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """A driver that goes on makes a searcher of its own."""


class Chooser(Protocol):
    """What a search is to its driver."""

    def settings(self, number: int, recorded: Settings | None) -> Settings:
        """A trial's settings; `recorded` are those that it had under an earlier driver."""

    def tell(self, number: int, value: float | None) -> None:
        """What a trial came to; None: to nothing."""


def _chooser(job: TuneJob, earlier: list[tuple[Settings, float]]) -> Chooser:
    match job.search:
        case RandomSearch():
            return _Drawn(job)
        case GridSearch():
            return _Grid(job)
        case Tpe() | GaussianProcess() | CmaEs() | Genetic():
            return _Learning(job, job.search, earlier)
        case Evolution():
            from trainshed.runtime.tuning.evolution import Evolving  # two seconds, which no other search pays

            return Evolving(job, job.search, earlier)
        case _:
            assert_never(job.search)


class _Drawn:
    """Random search: a trial's settings are a function of seed and number."""

    def __init__(self, job: TuneJob) -> None:
        self._job = job

    def settings(self, number: int, recorded: Settings | None) -> Settings:
        if recorded is not None:
            return recorded
        assert isinstance(self._job.search, RandomSearch)
        source = pick_at_random(random.Random(f"{self._job.search.seed}/{number}"))
        given = _given(self._job.search.start_with, number)
        return draw(
            self._job.space,
            self._job.train,
            lambda path, values: given[path] if path in given else source(path, values),
        )[0]

    def tell(self, number: int, value: float | None) -> None:
        """It learns nothing."""


class _Grid:
    """The points of a grid, in the order of the space: the last setting changes fastest."""

    def __init__(self, job: TuneJob) -> None:
        self._points = grid(job.space, job.train)

    def settings(self, number: int, recorded: Settings | None) -> Settings:
        return recorded if recorded is not None else self._points[number]

    def tell(self, number: int, value: float | None) -> None:
        """It learns nothing."""


class _Learning:
    """Optuna: what was told decides what is drawn next."""

    def __init__(self, job: TuneJob, search: Sampled, earlier: list[tuple[Settings, float]]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._job, self._search = job, search
        self._trials: dict[int, optuna.Trial] = {}
        self._tried: list[Settings] = []
        direction = optuna.study.StudyDirection.MINIMIZE if job.mode == "min" else optuna.study.StudyDirection.MAXIMIZE
        self._study = optuna.create_study(direction=direction, sampler=_sampler(search, 0))
        for settings, value in earlier:
            self._study.enqueue_trial(_encoded(job.space, settings))
            trial = self._study.ask()
            draw(job.space, job.train, _picked_by(trial))
            self._study.tell(trial, value)

    def settings(self, number: int, recorded: Settings | None) -> Settings:
        given = recorded if recorded is not None else _given(self._search.start_with, number)
        if given:
            self._study.enqueue_trial(_encoded(self._job.space, given))
        settings = self._ask(number, attempt=0)
        for attempt in range(1, ATTEMPTS):
            if recorded is not None or settings not in self._tried:
                break
            self._study.tell(self._trials[number], state=TrialState.FAIL)  # what was tried once is known
            settings = self._ask(number, attempt)
        self._tried.append(settings)
        return settings if recorded is None else recorded

    def _ask(self, number: int, attempt: int) -> Settings:
        self._study.sampler = _sampler(self._search, number, attempt)
        self._trials[number] = trial = self._study.ask()
        return draw(self._job.space, self._job.train, _picked_by(trial))[0]

    def tell(self, number: int, value: float | None) -> None:
        trial = self._trials.pop(number, None)
        if trial is not None:
            state = TrialState.COMPLETE if is_measured(value) else TrialState.FAIL
            self._study.tell(trial, value if state is TrialState.COMPLETE else None, state=state)


def _given(start_with: tuple[Settings, ...], number: int) -> Settings:
    return start_with[number] if number < len(start_with) else {}


def _sampler(search: Sampled, number: int, attempt: int = 0) -> optuna.samplers.BaseSampler:
    """A sampler whose random numbers are those of this trial: it keeps none between trials."""
    seed = random.Random(f"{search.seed}/{number}/{attempt}").randrange(2**31)
    match search:
        case Tpe(random_trials=count):
            with warnings.catch_warnings():  # Optuna calls three settings of it experimental
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.samplers.TPESampler(
                    n_startup_trials=count, multivariate=True, group=True, constant_liar=True, seed=seed
                )
        case GaussianProcess(random_trials=count):
            with warnings.catch_warnings():  # Optuna calls it experimental
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.samplers.GPSampler(n_startup_trials=count, seed=seed, warn_independent_sampling=False)
        case CmaEs(random_trials=count):
            return optuna.samplers.CmaEsSampler(
                n_startup_trials=count,
                seed=seed,
                independent_sampler=optuna.samplers.RandomSampler(seed=seed),
                warn_independent_sampling=False,
            )
        case Genetic(population=size):
            return optuna.samplers.NSGAIISampler(population_size=size, seed=seed)
        case _:
            assert_never(search)


def _picked_by(trial: optuna.Trial) -> Callable[[str, Range], JsonValue]:
    def pick(path: str, values: Range) -> JsonValue:
        match values:
            case Uniform(uniform=(low, high), step=step):
                return trial.suggest_float(path, low, high, step=step)
            case LogUniform(log_uniform=(low, high)):
                return trial.suggest_float(path, low, high, log=True)
            case Integer(integer=(first, last), step=step, log=log):
                return trial.suggest_int(path, first, last, step=step, log=log)
            case Normal():
                return values.at_share(trial.suggest_float(path, 0.0, 1.0))
            case Choice(choice=options):
                labels = {_label(option): option for option in options}
                return labels[trial.suggest_categorical(path, list(labels))]
            case _:
                assert_never(values)

    return pick


def _encoded(space: Mapping[str, Range], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as Optuna's parameters; what is not in the space is left out."""
    return dict(_pairs(space, settings))


def _pairs(space: Mapping[str, Range], settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for path in space.keys() & settings.keys():
        values, value = space[path], settings[path]
        match values:
            case Normal():
                yield path, values.share_of(value)
            case Choice():
                yield path, _label(value)
            case _:
                yield path, value


def _label(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True)
