"""A row of metrics.jsonl: what was measured at one optimizer step. Which metrics there are depends on the task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from trainshed.record.checkpoints import METRIC
from trainshed.record.facts import Number, is_measured
from trainshed.record.journal import read_steps
from trainshed.record.storage import Storage


@dataclass(frozen=True)
class MetricRow:
    """One row of metrics.jsonl."""

    step: int
    values: Mapping[str, JsonValue]
    """All that the row says, the step among it."""

    @staticmethod
    def of(values: Mapping[str, Any]) -> MetricRow:
        """The row that says this; `step` must be there."""
        return MetricRow(int(values["step"]), values)

    @property
    def is_held_out(self) -> bool:
        """Whether it is from a validation."""
        return METRIC in self.values

    @property
    def numbers(self) -> dict[str, Number]:
        """The figures of the row that are numbers."""
        return {name: value for name, value in self.values.items() if isinstance(value, int | float)}

    def figure(self, name: str) -> Number | None:
        """A figure, also one that is NaN; None where there is no number of that name."""
        value = self.values.get(name)
        return value if isinstance(value, int | float) else None

    def measured(self, name: str) -> float | None:
        """A figure that compares with others; None where there is none, or it is NaN or infinite."""
        value = self.figure(name)
        return float(value) if value is not None and is_measured(value) else None


def read_rows(storage: Storage, relative: str) -> list[MetricRow]:
    """Every row of a metrics.jsonl so far; empty where there is none."""
    return [MetricRow.of(row) for row in read_steps(storage, relative)]
