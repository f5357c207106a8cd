"""The verbs about sweeps: list them, and watch the trials of one."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

import typer

from trainshed.cli import context
from trainshed.cli.figures import cause_lines, figure
from trainshed.cli.run_page import cell, job_of
from trainshed.cli.show import duration, is_terminal, print_json, print_table, printable
from trainshed.cli.states import LOST, UNKNOWN, States

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trainshed.client.alive import SeenState
    from trainshed.record.facts import Settings, SpentFacts
    from trainshed.record.metric_rows import MetricRow
    from trainshed.record.run import Record
    from trainshed.record.trial_facts import TrialState
    from trainshed.record.trials import TrialFiles

EVERY_S = 1.0
LOOKS_A_QUESTION = 10
"""Between two questions to the sweep's cluster whether it still runs."""
LIMITS = ("hours", "device_hours", "money")
HEAD = ("", "TRIAL", "STATE", "STEP")

sweeps = typer.Typer(
    help="List sweeps, and watch the trials of one.", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)


def add_to(app: typer.Typer) -> None:
    """Adds the verbs."""
    sweeps.command("list")(list_sweeps)
    sweeps.command("show")(show_sweep)
    app.add_typer(sweeps, name="sweeps")


def list_sweeps(address: str | None = context.RunAddressOption, as_json: bool = context.JsonOption) -> None:
    """List sweeps, newest first.

    \b
    platform sweeps list
    """
    from trainshed.record.index import all_runs

    states = States(address)
    found = [
        {"run_id": run.run_id, "state": states.of(run), "best": _best_value(run)}
        for run in all_runs(context.storage())
        if run.facts.job.kind == "tune"
    ]
    if as_json:
        print_json(found)
        return
    print_table(["SWEEP", "STATE", "BEST"], [list(one.values()) for one in found], empty="no sweeps yet")


def _best_value(run: Record) -> float | None:
    from trainshed.record.facts import what_is_whole
    from trainshed.record.results import SweepResult

    outcome = what_is_whole(lambda: run.outcome, None)
    return outcome.best.value if isinstance(outcome, SweepResult) and outcome.best is not None else None


def show_sweep(
    run: str = typer.Argument(..., help="A run id, or a name: its newest run.", show_default=False),
    once: bool = typer.Option(False, "--once", help="Print the table once, also in a terminal."),
    address: str | None = context.RunAddressOption,
    as_json: bool = context.JsonOption,
) -> None:
    """Draw the trials of a sweep, the best first; in a terminal until the sweep ends.

    \b
    platform sweeps show stdlib-sweep
    platform sweeps show stdlib-sweep --json
    """
    from trainshed.errors import UsageError
    from trainshed.record.index import find_run
    from trainshed.record.run import ENDED

    record = find_run(context.storage(), run)
    if record.facts.job.kind != "tune":
        raise UsageError(f"{record.run_id} is a {record.facts.job.kind} run; `platform show` draws it")
    state = States(address).of(record)
    table = Trials(record, found=state)
    if as_json:
        print_json([asdict(row) for row in table.rows()])
    elif once or not is_terminal() or state in (*ENDED, LOST, UNKNOWN):
        rows = table.rows()
        typer.echo(table.headline(rows))
        print_table(*table.cells(rows), empty="no trial has begun")
        for line in cause_lines(rows):
            typer.echo(printable(line))
    else:
        _watch(record, table, address)


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
        self._record, self.found = record, found
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
        """One a trial, the best first."""
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
        """How far it is, what it has used up, and of what."""
        from trainshed.record.trial_facts import TrialState

        done = sum(row.state not in (TrialState.RUNNING, TrialState.CUT) for row in rows)
        spent = _spent(self._record)
        budget, hours = self._job.budget, spent.device_s / 3600
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

        facts, ended = trial.facts or TrialFacts(settings={}), trial.ended or TrialEnd(state=otherwise)
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


def _watch(record: Record, table: Trials, address: str | None) -> None:
    from rich.live import Live

    from trainshed.record.run import ENDED

    looks = 0
    with Live(auto_refresh=False) as live:
        while True:
            if looks and looks % LOOKS_A_QUESTION == 0:
                table.found = States(address).of(record)
            ended = table.state in (*ENDED, LOST)  # asked first: the last picture is of the end
            live.update(picture(table), refresh=True)
            if ended:
                return
            looks += 1
            time.sleep(EVERY_S)


def picture(table: Trials) -> RenderableType:
    """The table for a terminal; what a trial said is text, also where it has brackets."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rows = table.rows()
    head, lines = table.cells(rows)
    grid = Table(box=None, pad_edge=False)
    for name in head:
        grid.add_column(Text(name))
    for line in lines:
        grid.add_row(*map(Text, line), style="bold" if line[0] else None)
    return Group(Text(table.headline(rows)), grid, *map(Text, cause_lines(rows)))
