"""The verbs about sweeps: list them, and watch the trials of one."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from trainshed.cli import context
from trainshed.cli.figures import cause_lines
from trainshed.cli.show import is_terminal, print_json, print_table, printable
from trainshed.cli.states import LOST, UNKNOWN, States
from trainshed.cli.trial_table import Trials

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trainshed.record.run import Record

EVERY_S = 1.0
LOOKS_A_QUESTION = 10
"""Between two questions to the sweep's cluster whether it still runs."""

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
