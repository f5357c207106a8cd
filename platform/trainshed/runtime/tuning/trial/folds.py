"""A trial of several trainings, each with another part of the data held out; what it reports is their mean.

A fold counts with its newest figures; where the training exports its best step, with those of its best step so far.

A step of the trial counts through its folds, so that a scheduler can end it after a fold or in the middle of one: at
the same step every trial has seen the same folds.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable

from pydantic import JsonValue

from trainshed.record.checkpoints import METRIC
from trainshed.record.facts import is_measured
from trainshed.record.metric_rows import MetricRow
from trainshed.record.trials import TrialFiles

Report = Callable[[MetricRow], None]


class FoldedReport:
    """Means over the folds so far: the last figures of those that are done, the newest of the one that runs."""

    def __init__(self, trial: TrialFiles, steps: int, report: Report, *, of_the_best: bool = False) -> None:
        self._trial = trial
        self._steps = steps
        self._report = report
        self._of_the_best = of_the_best
        self._finals: list[dict[str, float]] = []
        self._newest: dict[str, float] = {}
        self._rows: list[MetricRow] = []

    def report(self, own: MetricRow) -> None:
        """What the running fold has measured at its own step."""
        numbers = own.numbers
        found = {key: float(numbers[key]) for key in numbers if key == "train_loss" or key.startswith("validation_")}
        if not (self._of_the_best and self._newest and _is_worse(found, self._newest)):
            self._newest = found
        fold = len(self._finals)
        said: dict[str, JsonValue] = {"step": fold * self._steps + own.step, "fold": fold}
        for key in self._newest:
            values = [final[key] for final in self._finals if key in final] + [self._newest[key]]
            said[key] = statistics.fmean(values)
            said[f"{key}_deviation"] = statistics.stdev(values) if len(values) > 1 else 0.0
        row = MetricRow.of(said)
        self._rows.append(row)
        text = "".join(f"{json.dumps(one.values)}\n" for one in self._rows)
        self._trial.storage.write(f"{self._trial.folder}/metrics.jsonl", text.encode())
        self._report(row)

    def fold_ended(self) -> None:
        """Keeps the last figures of the fold."""
        self._finals.append(self._newest)
        self._newest = {}


def _is_worse(found: dict[str, float], best: dict[str, float]) -> bool:
    """Whether a loss is worse. Of equal losses the newer one counts, as in `figure_of`; NaN is always worse."""
    return not is_measured(found[METRIC]) or found[METRIC] > best[METRIC]


def folder_of(trial: TrialFiles, fold: int) -> str:
    """Where one fold's files lie, relative to the storage."""
    return f"{trial.folder}/fold-{fold}"
