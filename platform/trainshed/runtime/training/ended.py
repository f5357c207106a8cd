"""How a training ended on a worker: plain data, so that it travels to a driver that has no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from trainshed.record.metric_rows import MetricRow
from trainshed.record.names import ExportName
from trainshed.record.results import ExportFacts

Notice = Literal["leave", "stop"]
"""`leave`: this worker's machine goes away, the run goes on without it. `stop`: the run is to end here."""


@dataclass(frozen=True)
class Ended:
    """How a training ended; the same on every worker but for what an export adds, which worker 0 has."""

    last: MetricRow
    """The metrics of the last step that counts, by the names of metrics.jsonl."""
    notice: Notice | None
    """Why it ended before its last step; None: it was not told to."""
    export: Mapping[ExportName, ExportFacts] = field(default_factory=dict)
    """What worker 0 has written, by its folder."""
