"""Settings as words and as places on an axis. A choice is a row of names; a part goes by its kind where that is enough.

Knows nothing of pictures: the slices, the parallel coordinates, the table and the importance share it.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainshed.record.facts import is_measured
from trainshed.record.trial_facts import TrialResult
from trainshed.spec.sweep.space import Choice, Integer, LogUniform, Range, ends

LONGEST = 28
FAR = 5.0


@dataclass(frozen=True)
class Scale:
    """The axis of one setting."""

    low: float
    high: float
    logarithmic: bool
    options: tuple[Any, ...] = ()
    """The values of a choice, in its order; empty where the setting is a number."""

    @property
    def names(self) -> list[str]:
        """What the options are called, told apart."""
        kinds = [label_of(option) for option in self.options]
        whole = [_in_full(option) for option in self.options]
        return [kind if kinds.count(kind) == 1 else full for kind, full in zip(kinds, whole, strict=True)]

    def place(self, value: Any) -> float:
        """Where a value stands: the number itself, or the number of the option."""
        return float(self.options.index(value)) if self.options else float(value)

    def name(self, value: Any) -> str:
        """What a value is called."""
        return self.names[self.options.index(value)] if self.options else label_of(value)


def scale_of(values: Range) -> Scale:
    """The axis of a range: as wide as the range, whatever was drawn from it."""
    if isinstance(values, Choice):
        return Scale(0.0, len(values.choice) - 1.0, logarithmic=False, options=values.choice)
    low, high = (float(str(end)) for end in ends(values))
    return Scale(low, high, isinstance(values, LogUniform) or (isinstance(values, Integer) and values.log))


def measured_of(trials: Iterable[TrialResult]) -> list[tuple[TrialResult, float]]:
    """The trials that have a figure, with it."""
    return [(trial, trial.value) for trial in trials if trial.value is not None and is_measured(trial.value)]


def label_of(value: Any) -> str:
    """One value in words: a part by its kind."""
    if isinstance(value, Mapping):
        return str(value.get("kind") or _short(json.dumps(value)))
    return f"{value:.4g}" if isinstance(value, float) else _short(str(value))


def shown_range(values: Sequence[float | None], mode: str) -> tuple[float, float] | None:
    """The range in which a picture shows a metric; None: all values are close enough to be shown.

    Far is what lies over five times as far behind the median as the median lies behind the best: one trial that ran
    away would press all others into a line.
    """
    sign = 1.0 if mode == "min" else -1.0
    known = sorted(sign * value for value in values if value is not None and is_measured(value))
    if len(known) < 3:
        return None
    median = statistics.median(known)
    best = known[0]
    near = [value for value in known if value <= median + FAR * (median - best)]
    if median == best or len(near) == len(known):
        return None
    span = near[-1] - best
    ends_of_it = sorted((sign * (best - 0.08 * span), sign * (near[-1] + 0.12 * span)))
    return ends_of_it[0], ends_of_it[1]


def _in_full(option: Any) -> str:
    if not isinstance(option, Mapping):
        return label_of(option)
    rest = ", ".join(f"{key} {label_of(value)}" for key, value in option.items() if key != "kind")
    return _short(f"{option.get('kind', '')} {rest}".strip())


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
