"""Following a submission: a bar for each document in a terminal, plain lines elsewhere; Ctrl-C asks what to do."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Protocol

import typer

from trainshed.cli import context
from trainshed.cli.show import is_terminal, json_text, say
from trainshed.client.address import Address
from trainshed.client.follow import follow
from trainshed.client.jobs_api import JobsClient
from trainshed.client.stop import GRACE_S, stop_run, stop_submission
from trainshed.errors import BudgetReached
from trainshed.record.run import Record

PLAIN_EVERY_S = 5.0
RESUMABLE_KINDS = ("train", "tune")


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
    """What shows events."""

    def show(self, event: dict[str, Any]) -> None:
        """One event."""

    def close(self) -> None:
        """No more events."""


class JsonView:
    """Every event as one line of JSON."""

    def show(self, event: dict[str, Any]) -> None:
        """Prints it."""
        typer.echo(json_text(event))

    def close(self) -> None:
        """Nothing is held."""


class PlainView:
    """Lines for a log file: what is new, and progress every few seconds."""

    def __init__(self) -> None:
        self._said_at = 0.0
        self._stage = ""

    def show(self, event: dict[str, Any]) -> None:
        """Prints what is worth a line."""
        text = describe(event)
        if text is None:
            return
        if event["event"] == "progress":
            stage = f"{event['run']} {event['stage']} {event.get('what')}"
            ended = event["done"] >= event["total"]
            if stage == self._stage and not ended and time.monotonic() - self._said_at < PLAIN_EVERY_S:
                return
            self._stage, self._said_at = stage, time.monotonic()
        typer.echo(f"{event['time'][11:19]} {short(event['run'])}: {text}")

    def close(self) -> None:
        """Nothing is held."""


class BarView:
    """One bar for each document, and the lines above them."""

    def __init__(self, runs: list[str]) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
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

    def show(self, event: dict[str, Any]) -> None:
        """Moves a bar, or prints a line above them."""
        bar = self._bars.get(event.get("run", ""))
        text = describe(event)
        if bar is None or text is None:
            return
        match event["event"]:
            case "begin":
                self._progress.start_task(bar)
                self._progress.update(bar, state="running", text="")
            case "progress":
                self._progress.update(bar, completed=event["done"], total=event["total"], text=text)
            case "end":
                self._progress.update(bar, state=event["state"], text=text if event["state"] != "succeeded" else "")
                self._progress.stop_task(bar)
            case _:
                self._progress.console.print(f"{short(event['run'])}: {text}", markup=False, highlight=False)

    def close(self) -> None:
        """Leaves the bars as they are."""
        self._progress.stop()


def describe(event: dict[str, Any]) -> str | None:
    """One event in words; None where it says nothing to a person."""
    match event["event"]:
        case "log":
            return None if event.get("detail") else str(event["message"])
        case "begin":
            return f"{event['kind']} {'goes on' if event.get('again') else 'begins'}"
        case "progress":
            return _progress_text(event)
        case "trial" if event["state"] != "running":
            settings = ", ".join(f"{path.rsplit('.', 1)[-1]} {in_short(v)}" for path, v in event["settings"].items())
            value = next(
                (f"{key} {event[key]:.4f}" for key in ("validation_loss", "train_loss") if key in event), "no metric"
            )
            return f"{event['trial']} {event['state']} at step {event.get('step', 0)}: {value} ({settings})"
        case "checkpoint_refused":
            return f"the checkpoint of step {event['step']} is passed over: {event['cause']}"
        case "checkpoint_failed":
            return f"the checkpoint of step {event['step']} was not written: {event['cause']}"
        case "resumed":
            return f"goes on after step {event['step']} from {event['checkpoint']}"
        case "memory":
            measured, predicted = event["measured_bytes"] / 1e6, event["predicted_bytes"] / 1e6
            return f"states on worker 0: {measured:.1f} MB, planned {predicted:.1f} MB (ratio {event['ratio']:.3f})"
        case "stopped_early":
            return f"validation loss no longer falls (best {event['best']:.4f}): ended after step {event['step']}"
        case "exports_best":
            return f"the weights after step {event['step']} are exported: their validation loss was the lowest"
        case "rolled_back":
            norm = f", gradient norm {event['grad_norm']}" if "grad_norm" in event else ""
            return (
                f"step {event['step']}: {event['verdict']} (loss {event['loss']}{norm}); back to step "
                f"{event['back_to']}, {len(event['samples'])} samples left out"
            )
        case "end":
            cause = f": {event['cause']}" if event.get("cause") else ""
            log = f"\n  full log: {event['log']}" if event.get("log") else ""
            return f"{event['state']}{cause}{log}"
        case _:
            return None


def stopped(record: Record, state: str) -> str:
    """How a run was stopped, in words, and how to go on with it."""
    end = record.end
    saved = f" after step {end.step}, saved in {end.checkpoint}" if end is not None and end.checkpoint else ""
    again = state == "stopped" and record.facts.job.kind in RESUMABLE_KINDS
    return f"{record.run_id}: {state}{saved}" + (f"; `platform resume {record.run_id}` goes on with it" * again)


def in_short(value: Any) -> str:
    """A setting of a trial: a part by its kind, a number by three digits."""
    if isinstance(value, dict):
        return str(value.get("kind", json.dumps(value)))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def short(run_id: str) -> str:
    """The name in a run id."""
    return run_id.rsplit("-", 3)[0] if run_id.count("-") >= 3 else run_id


def _progress_text(event: dict[str, Any]) -> str:
    done, total = event["done"], event["total"]
    words = [f"{event['stage']} {done:g}/{total:g}"]
    if "what" in event:
        words.append(str(event["what"]))
    if "train_loss" in event:
        words.append(f"loss {event['train_loss']:.3f}")
    if "validation_loss" in event:
        words.append(f"validation {event['validation_loss']:.3f}")
    for unit in ("tokens", "samples"):
        if f"{unit}_per_s" in event:
            words.append(f"{event[f'{unit}_per_s']:,.0f} {unit}/s")
    return "  ".join(words)


def _show(events: Iterator[dict[str, Any]], view: View) -> int:
    code, failed, explained = 1, 1, False
    for event in events:
        if event["event"] == "end" and event["state"] == "budget_reached":
            failed = BudgetReached.exit_code
        if event["event"] == "job_end":
            code = 0 if event["state"] == "SUCCEEDED" else failed
            if isinstance(view, JsonView):
                view.show(event)
            elif code and not explained:
                say(f"the job ended as {event['state']}: {event.get('message') or 'no message'}")
            continue
        explained = explained or (event["event"] == "end" and event["state"] != "succeeded")
        view.show(event)
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
