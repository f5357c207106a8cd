"""Which settings each trial gets. A trial is its number: its settings hang on the sweep's seed, that number, and what
the trials before it came to; never on which driver asks for it.

Speaks Ray Tune's `Searcher`. Random search and the grid need nothing but the number (`drawing.py`); what learns from
trials is Optuna (`optuna_search.py`) or nevergrad (`evolution.py`): one sampler for the whole sweep, with its history
and its random numbers. A driver that goes on has it draw again for the trials that have begun before.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol, assert_never

from ray.tune.search import Searcher

from trainshed.record.events import Log, Sink, to_nobody
from trainshed.record.facts import is_measured
from trainshed.runtime.tuning.search.curves import Curves
from trainshed.runtime.tuning.search.drawing import Drawn, Gridded
from trainshed.spec.sweep.possible import Possible, Settings
from trainshed.spec.sweep.search import CmaEs, Evolution, GaussianProcess, Genetic, GridSearch, RandomSearch, Tpe
from trainshed.spec.sweep.tune import TuneJob

log = logging.getLogger(__name__)


class Numbered(Searcher):  # type: ignore[misc]
    """Hands out `{"number": n, "settings": {...}}`. `recorded` are the settings of trials that have begun before.

    `failed` says of a trial that has ended whether it failed by its own settings: a search takes it for worse than
    every one that did not. `came_to` is the figure of a trial that came to its own end; see `trial_result`.
    `sink` hears why a search ends early.
    """

    def __init__(
        self,
        job: TuneJob,
        recorded: Mapping[int, Settings],
        earlier: list[tuple[Settings, float]],
        *,
        failed: Callable[[int], bool] | None = None,
        came_to: Callable[[int], float | None] = lambda _number: None,
        sink: Sink = to_nobody,
    ) -> None:
        super().__init__(metric=job.metric, mode=job.mode)
        self._job = job
        self._recorded = recorded
        self._failed = failed
        self._came_to = came_to
        self._sink = sink
        self._numbers: dict[str, int] = {}
        self._curves = Curves(job.steps_of_a_trial)
        self.possible = Possible(job)
        """Draws through here are those that can be a trial; it counts the others."""
        self._over = False
        known = [one for one in earlier if self.possible.allows(one[0])]
        if len(known) < len(earlier):
            left = len(earlier) - len(known)
            sink(Log(message=f"{left} trials of earlier sweeps cannot be trials of this one: they are not told"))
        self._chooser = _chooser(job, self.possible, known)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher with its own state, which nobody reads; who hears of it may hold locks."""
        return {}

    @property
    def refused(self) -> int:
        """How many draws could not be a trial."""
        return self.possible.refused

    @property
    def refusals(self) -> str:
        """The same in words; empty where there were none."""
        return f"{self.refused} draws could not be a trial; the first: {self.possible.why}" if self.refused else ""

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial's settings."""
        number = len(self._numbers)
        if number >= self._job.trials or self._over:
            return str(Searcher.FINISHED)
        settings = self._chooser.settings(number, self._recorded.get(number))
        if settings is None:
            self._over = True
            message = f"the search ends after {number} of {self._job.trials} trials: {self._why_it_ends()}"
            self._sink(Log(message=message))
            return str(Searcher.FINISHED)
        self._numbers[trial_id] = number
        return {"number": number, "settings": settings}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """One look at a trial."""
        value: Any = result.get(self._job.metric)
        if is_measured(value):
            self._curves.add(self._numbers[trial_id], int(result.get("step", 0)), float(value))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """What a trial came to, if it came to anything; one that ended early, what it would have come to."""
        number = self._numbers[trial_id]
        value = (result or {}).get(self._job.metric)
        failed = self._failed is not None and self._failed(number)
        counts = None if failed else self._came_to(number)
        if counts is not None:
            self._chooser.tell(number, counts)
        elif failed or (value is not None and not is_measured(value)):
            self._curves.drop(number)
            self._chooser.tell(number, math.inf if self._job.mode == "min" else -math.inf)
        elif error or result is None or value is None:
            self._chooser.tell(number, None)
        else:
            self.on_trial_result(trial_id, result)
            self._chooser.tell(number, self._curves.end(number))

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: the Record has all that is needed."""

    def restore(self, checkpoint_path: str) -> None:
        """A driver that goes on makes a searcher of its own."""

    def _why_it_ends(self) -> str:
        refused = f"; {self.refusals}" if self.refused else ""
        if self.possible.size is None:
            return f"no other settings were found that can be a trial{refused}"
        return f"every combination of the space that can be a trial was tried{refused}"


class Chooser(Protocol):
    """What a search is to its driver."""

    def settings(self, number: int, recorded: Settings | None) -> Settings | None:
        """A trial's settings, asked for in the order of numbers; `recorded` are those that it had under an earlier
        driver. None: there is nothing left to be tried."""

    def tell(self, number: int, value: float | None) -> None:
        """What a trial came to: infinitely bad where it failed by its settings; None: to nothing, and not by them."""


def _chooser(job: TuneJob, possible: Possible, earlier: list[tuple[Settings, float]]) -> Chooser:
    match job.search:
        case RandomSearch():
            return Drawn(job.search, possible)
        case GridSearch():
            return Gridded(possible)
        case Tpe() | GaussianProcess() | CmaEs() | Genetic():
            from trainshed.runtime.tuning.search.optuna_search import (
                Learning,  # Optuna: a second, which random search does not pay
            )

            return Learning(job, job.search, possible, earlier)
        case Evolution():
            from trainshed.runtime.tuning.search.evolution import (
                Evolving,  # two seconds, which no other search pays
            )

            return Evolving(job, job.search, possible, earlier)
        case _:
            assert_never(job.search)
