"""Following a submission: a bar for each document in a terminal, plain lines elsewhere; Ctrl-C asks what to do."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Protocol

import typer

from trainshed.cli import context
from trainshed.cli.show import is_terminal, json_text, say
from trainshed.client.address import Address
from trainshed.client.follow import follow
from trainshed.client.jobs_api import JobsClient
from trainshed.client.stop import GRACE_S, stop_run, stop_submission
from trainshed.errors import BudgetReached
from trainshed.record.events import Begin, End, JobEnd, Line, Progress, describe
from trainshed.record.run import Record
from trainshed.spec.kinds import GO_ON

PLAIN_EVERY_S = 5.0


def follow_submission(address: Address, submission_id: str, runs: list[str], *, as_json: bool) -> int:
    """Shows a submission until it ends; the exit code of the command."""
    with JobsClient(address.url, address.token) as jobs:
        events = follow(jobs, submission_id, on_trouble=say)
        view = _view(runs, as_json=as_json)
        try:
            return _show(events, view)
        except KeyboardInterrupt:
            view.close()
            return _interrupted(address, submission_id, runs)
        finally:
            view.close()


def _view(runs: list[str], *, as_json: bool) -> View:
    if as_json:
        return JsonView()
    return BarView(runs) if is_terminal() else PlainView()


class View(Protocol):
    """A display of events."""

    def show(self, line: Line) -> None:
        """One event."""

    def close(self) -> None:
        """No more events."""


class JsonView:
    """Every event as one line of JSON."""

    def show(self, line: Line) -> None:
        """Prints it."""
        typer.echo(json_text(line.facts()))

    def close(self) -> None:
        """Does nothing: no resource is held."""


class PlainView:
    """Lines for a log file: what is new, and progress every few seconds."""

    def __init__(self) -> None:
        self._said_at = 0.0
        self._stage = ""

    def show(self, line: Line) -> None:
        """Prints what is worth a line."""
        event = line.event
        text = describe(line.event)
        if text is None:
            return
        if isinstance(event, Progress):
            stage = f"{line.run} {event.stage} {event.what}"
            ended = event.done >= event.total
            if stage == self._stage and not ended and time.monotonic() - self._said_at < PLAIN_EVERY_S:
                return
            self._stage = stage
            self._said_at = time.monotonic()
        typer.echo(f"{line.time[11:19]} {short(line.run)}: {text}")

    def close(self) -> None:
        """Does nothing: no resource is held."""


class BarView:
    """One bar for each document, and the lines above them."""

    def __init__(self, runs: list[str]) -> None:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._progress = Bars(
            TextColumn("{task.fields[state]:9}"),
            TextColumn("{task.description:18}"),
            BarColumn(24),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
        )
        self._bars = {
            run: self._progress.add_task(short(run), state="waiting", text="", start=False, total=None) for run in runs
        }
        self._progress.start()

    def show(self, line: Line) -> None:
        """Moves a bar, or prints a line above them."""
        bar = self._bars.get(line.run)
        text = describe(line.event)
        if bar is None or text is None:
            return
        match line.event:
            case Begin():
                self._progress.start_task(bar)
                self._progress.update(bar, state="running", text="")
            case Progress(done=done, total=total):
                self._progress.update(bar, completed=done, total=total, text=text)
            case End(state=state):
                self._progress.update(bar, state=state, text=text if state != "succeeded" else "")
                self._progress.stop_task(bar)
            case _:
                self._progress.console.print(f"{short(line.run)}: {text}", markup=False, highlight=False)

    def close(self) -> None:
        """Leaves the bars as they are."""
        self._progress.stop()


def stopped(record: Record, state: str) -> str:
    """How a run was stopped, in words, and how to go on with it."""
    end = record.end
    saved = f" after step {end.step}, saved in {end.checkpoint}" if end is not None and end.checkpoint else ""
    again = state == "stopped" and record.facts.job.kind in GO_ON
    return f"{record.run_id}: {state}{saved}" + (f"; `platform resume {record.run_id}` goes on with it" * again)


def short(run_id: str) -> str:
    """The name in a run id."""
    return run_id.rsplit("-", 3)[0] if run_id.count("-") >= 3 else run_id


def _show(lines: Iterator[Line | JobEnd], view: View) -> int:
    code = 1
    failed = 1
    explained = False
    for line in lines:
        match line:
            case JobEnd(state=state, message=message):
                code = 0 if state == "SUCCEEDED" else failed
                if isinstance(view, JsonView):
                    typer.echo(json_text(line.facts()))
                elif code and not explained:
                    say(f"the job ended as {state}: {message or 'no message'}")
            case Line(event=event):
                if isinstance(event, End) and event.state == "budget_reached":
                    failed = BudgetReached.exit_code
                explained = explained or (isinstance(event, End) and event.state != "succeeded")
                view.show(line)
    return code


def _interrupted(address: Address, submission_id: str, runs: list[str]) -> int:
    """Ctrl-C: the job is not the command. Asks, where somebody can answer; else leaves the job running."""
    if sys.stdin.isatty():
        answer = typer.prompt("\n[d]etach and leave the job running, or [s]top it?", default="d", err=True)
        if answer.lower().startswith("s"):
            records = [Record(context.storage(), run) for run in runs]
            running = next((record for record in records if record.state == "running"), None)
            if running is None:
                stop_submission(address, submission_id)
                say(f"{submission_id}: stopped")
            else:
                say(f"{running.run_id}: asked to save and stop, for at most {GRACE_S:.0f} s")
                say(stopped(running, stop_run(address, running)))
            return 130
    say(f"{submission_id} goes on; `platform runs` lists it, `platform stop RUN` ends it")
    return 130
