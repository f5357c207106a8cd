"""What workers left of an evaluation, as statistics of the task: figures of single samples become metrics.

A task's meter says what a sample comes to (`MeasuresEach`): sums of tokens; sums, scores and labels; or figures. Knows
arrays; needs neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainshed.errors import PlatformError
from trainshed.record.evaluation import Estimate
from trainshed.runtime.evaluation.bootstrap import Array, Statistic, interval, once, resampled
from trainshed.runtime.evaluation.calibration import of_calibration
from trainshed.runtime.evaluation.squad import answer_f1, exact_match
from trainshed.runtime.evaluation.statistics import (
    of_classes,
    of_loss,
    of_means,
    of_numbers,
    of_several,
    of_tokens,
)
from trainshed.runtime.evaluation.translations import Translations, of_translations
from trainshed.runtime.training.scoring.files import ScoreFiles
from trainshed.spec.evaluation.evaluate import Intervals
from trainshed.spec.training.tasks import Custom, Seq2SeqLm, Task

Columns = Mapping[str, Array]
"""By name, `(samples, figures)`."""


def measured(files: ScoreFiles, split: str, samples: int, copy: Path) -> dict[str, Array]:
    """What the workers wrote down. `copy` is a folder for files of another machine."""
    table = files.read(split, samples, copy)
    return {name: _array(table[name]) for name in table.column_names}


def of_task(task: Task, columns: Columns) -> Statistic:
    """The metrics of a task, and the calibration of one that chooses a class.

    Raises:
        PlatformError: the workers have not measured what the task's metrics are made of.
    """
    if isinstance(task, Custom):
        raise PlatformError("task custom: its figures are those of its own meter, which an evaluation cannot resample")
    match sorted(columns):
        case ["sums"]:
            return of_tokens(columns["sums"], sequences=isinstance(task, Seq2SeqLm))
        case ["figures"]:
            return of_means(dict(zip(task.metrics, columns["figures"].T, strict=True)))
        case ["labels", "scores", "sums"]:
            return joined(of_loss(columns["sums"]), *_of_labels(task.label_kind, columns["scores"], columns["labels"]))
        case found:
            raise PlatformError(f"task {task.kind}: its figures are {', '.join(found)}, of which no metric is made")


def of_answers(said: list[str], truth: list[str]) -> Statistic:
    """exact_match and answer_f1."""
    pairs = list(zip(said, truth, strict=True))
    return of_means(
        {
            "exact_match": np.array([exact_match(*pair) for pair in pairs]),
            "answer_f1": np.array([answer_f1(*pair) for pair in pairs]),
        }
    )


def translations_of(task: Task, said: list[str], truth: list[str]) -> Translations | None:
    """bleu and chrf; None where the task does not translate."""
    return of_translations(said, truth) if isinstance(task, Seq2SeqLm) else None


def joined(*statistics: Statistic) -> Statistic:
    """The figures of all of them."""

    def statistic(weights: Array) -> dict[str, Array]:
        return {name: values for one in statistics for name, values in one(weights).items()}

    return statistic


def estimates(statistic: Statistic, samples: int, spec: Intervals, other: Statistic | None) -> dict[str, Estimate]:
    """Every figure that there is, with its interval; beside that of another model on the same samples."""
    values = once(statistic, samples)
    drawn = resampled(statistic, samples, spec)
    others = {} if other is None else once(other, samples)
    others_drawn = {} if other is None else resampled(other, samples, spec)
    found = {}
    for name, value in values.items():
        if np.isnan(value):
            continue  # as the area under a curve where a class is missing
        own = Estimate(value=value, interval=interval(drawn[name], spec))
        if name in others and not np.isnan(others[name]):
            apart = interval(drawn[name] - others_drawn[name], spec)
            own = own.model_copy(update={"other": others[name], "difference": apart})
        found[name] = own
    return found


def _of_labels(kind: str, scores: Array, labels: Array) -> list[Statistic]:
    match kind:
        case "class":
            return [of_classes(scores, labels), of_calibration(scores, labels)]
        case "multi":
            return [of_several(scores, labels)]
        case _:
            return [of_numbers(scores, labels)]


def _array(column: Any) -> Array:
    """A column of lists, or of numbers, as float64 `(samples, figures)`."""
    whole = column.combine_chunks()
    nested = hasattr(whole, "flatten") and hasattr(whole.type, "list_size")
    values = whole.flatten().to_numpy(zero_copy_only=False) if nested else whole.to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float64).reshape(len(whole), -1)
