"""The trials of a sweep as rows of a table: read while the sweep runs, and what has ended is not read again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from trainshed.cli.figures import figure
from trainshed.cli.run_page import cell, job_of
from trainshed.cli.show import duration
from trainshed.cli.states import LOST

if TYPE_CHECKING:
    from trainshed.client.alive import SeenState
    from trainshed.record.facts import Settings, SpentFacts
    from trainshed.record.metric_rows import MetricRow
    from trainshed.record.run import Record
    from trainshed.record.trial_facts import TrialState
    from trainshed.record.trials import TrialFiles

LIMITS = ("hours", "device_hours", "money")
HEAD = ("", "TRIAL", "STATE", "STEP")


@dataclass(frozen=True)
class Row:
    """A trial as it stands."""

    trial: str
    state: str
    by: str | None
    """The rule that ended it."""
    step: int
    value: float | None
    settings: Settings
    device_s: float | None
    kind: str | None
    cause: str | None


class Trials:
    """The trials of a sweep as they stand; what has ended, and a file that has not grown, is not read again."""

    def __init__(self, record: Record, *, found: SeenState | None = None) -> None:
        """`found`: the state that its cluster gives it while it has no result."""
        self._record = record
        self.found = found
        self._job = job_of(record)
        self._newest: dict[str, tuple[int, MetricRow | None]] = {}
        self._over: dict[str, Row] = {}

    @property
    def state(self) -> SeenState:
        """The sweep's: its Record's where it has ended, however its cluster was understood."""
        from trainshed.record.run import ENDED

        state = self._record.state
        return state if state in ENDED else self.found or state

    def rows(self) -> list[Row]:
        """The rows of the table, one a trial, the best first."""
        from trainshed.record.facts import what_is_whole
        from trainshed.record.ranking import rank_of
        from trainshed.record.run import ENDED
        from trainshed.record.trial_facts import TrialState
        from trainshed.record.trials import begun

        otherwise = TrialState.CUT if self.state in (*ENDED, LOST) else TrialState.RUNNING
        known = list(self._over.values())
        begun_since = begun(self._record.storage, self._record.at(), but=self._over)
        new = [what_is_whole(partial(self._row, trial, otherwise), None) for trial in begun_since]
        found = [*known, *(row for row in new if row is not None)]
        return sorted(found, key=lambda row: (rank_of(self._job, row.state, row.value), row.trial))

    def cells(self, rows: list[Row]) -> tuple[list[str], list[list[str]]]:
        """Head and lines of the table."""
        paths = list(dict.fromkeys(path for row in rows for path in row.settings))
        best = _best(rows)
        lines = [
            [
                "*" if row is best else "",
                row.trial,
                row.state,
                str(row.step),
                figure(row),
                *(cell(row.settings.get(path, "")) for path in paths),
                "" if row.device_s is None else f"{row.device_s / 60:.1f}",
            ]
            for row in rows
        ]
        return [*HEAD, self._job.metric, *paths, "DEVICE-MINUTES"], lines

    def headline(self, rows: list[Row]) -> str:
        """Progress and budget: how far the sweep is, what it has used up, and of what."""
        from trainshed.record.trial_facts import TrialState

        done = sum(row.state not in (TrialState.RUNNING, TrialState.CUT) for row in rows)
        spent = _spent(self._record)
        budget = self._job.budget
        hours = spent.device_s / 3600
        limits = [f"{key} {value:g}" for key in LIMITS if (value := getattr(budget, key)) is not None]
        best = _best(rows)
        found = "" if best is None else f", best {best.value:.4f}"
        said = f"{self._record.run_id}: {self.state}, {done} of {self._job.trials} trials done{found}"
        used = f"; {duration(spent.wall_s)}, {hours:.2f} device-hours"
        if (cost := budget.cost(hours)) is not None:
            used += f", {budget.money_text(cost)}"
        return said + used + (f" (limits: {', '.join(limits)})" if limits else "")

    def _row(self, trial: TrialFiles, otherwise: TrialState) -> Row:
        from trainshed.record.ranking import figure_of
        from trainshed.record.trial_facts import TrialEnd, TrialFacts, TrialState

        facts = trial.facts or TrialFacts(settings={})
        ended = trial.ended or TrialEnd(state=otherwise)
        newest = counts = self._newest_figures(trial)
        if facts.exports_best:  # it counts by a row that may lie anywhere
            counts = figure_of(facts, trial.held_out())
        row = Row(
            trial=trial.name,
            state=ended.state,
            by=ended.by,
            step=0 if newest is None else newest.step,
            value=None if counts is None or ended.state == TrialState.FAILED else counts.figure(self._job.metric),
            settings=facts.settings,
            device_s=ended.device_s,
            kind=ended.kind,
            cause=ended.cause,
        )
        if ended.device_s is not None:  # it is written last
            self._over[trial.name] = row
        return row

    def _newest_figures(self, trial: TrialFiles) -> MetricRow | None:
        path = f"{trial.folder}/metrics.jsonl"
        size = trial.storage.size(path)
        before, known = self._newest.get(path, (-1, None))
        if size != before:
            known = trial.newest()
            self._newest[path] = (size, known)
        return known


def _spent(record: Record) -> SpentFacts:
    from trainshed.record.facts import SpentFacts, read_facts, what_is_whole

    return what_is_whole(lambda: read_facts(record.storage, record.at("spent.json"), SpentFacts), None) or SpentFacts()


def _best(rows: list[Row]) -> Row | None:
    from trainshed.record.facts import is_measured

    return rows[0] if rows and is_measured(rows[0].value) else None
