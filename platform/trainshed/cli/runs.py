"""The verbs that look at runs: runs, show, logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from trainshed.cli import context
from trainshed.cli.run_page import draw, facts_of, headline
from trainshed.cli.show import ago, json_lines, print_facts, print_json, print_table, say
from trainshed.cli.states import LOST, States

if TYPE_CHECKING:
    from pydantic import JsonValue

    from trainshed.client.alive import SeenState
    from trainshed.record.run import Record

RunArgument = typer.Argument(..., help="A run id, or a name: its newest run.", show_default=False)
LOG_POLL_S = 0.2
LOG_SILENCE_S = 5.0
"""After so long without a new line the run's cluster is asked whether there will be one."""


def add_to(app: typer.Typer) -> None:
    """Adds the verbs."""
    app.command()(runs)
    app.command()(show)
    app.command()(logs)


def runs(
    limit: int = typer.Option(20, "--limit", "-n", help="So many, newest first."),
    address: str | None = context.RunAddressOption,
    as_json: bool = context.JsonOption,
) -> None:
    """List runs, newest first.

    \b
    platform runs
    platform runs --json -n 100
    """
    from trainshed.record.index import all_runs

    states = States(address)
    found = [_summary(run, states.of(run)) for run in all_runs(context.storage())[:limit]]
    if as_json:
        print_json(found)
        return
    rows = [[one["run_id"], one["kind"], one["state"], ago(one["created_at"]), one["headline"]] for one in found]
    print_table(
        ["RUN", "KIND", "STATE", "CREATED", ""],
        rows,
        empty="no runs yet; `platform submit jobs/quickstart.yaml` makes some",
    )


def show(
    run: str = RunArgument, address: str | None = context.RunAddressOption, as_json: bool = context.JsonOption
) -> None:
    """Draw one run: state, why it ended, loss curve, best trial, checkpoint, endpoint.

    \b
    platform show stdlib-gpt
    """
    from trainshed.record.facts import what_is_whole
    from trainshed.record.index import find_run

    record = find_run(context.storage(), run)
    seen = States(address).see(record)
    if as_json:
        print_json(
            {
                "state": seen.state,
                "job": record.job,
                "result": what_is_whole(lambda: record.result, None),
                "lineage": what_is_whole(lambda: _lineage_of(record), None),
                "metrics": [dict(row.values) for row in what_is_whole(lambda: record.metrics, [])],
            }
        )
        return
    facts = record.facts
    end = what_is_whole(lambda: record.end, None)
    print_facts(
        [
            ("run", record.run_id),
            ("kind", facts.job.kind),
            ("state", seen.state),
            ("why", (end and end.cause) or seen.why or None),
            ("full log", end and end.log),
            ("created", f"{facts.created_at} ({ago(facts.created_at)})"),
            ("ended", end and end.ended_at),
            ("submission", facts.submission_id),
            ("cluster", _url_of(record.job)),
            ("code", f"{facts.code.version}, {facts.code.package_sha256[:12]}, commit {facts.code.git_commit}"),
            *what_is_whole(lambda: facts_of(record), []),
            ("directory", record.storage.address(record.at())),
        ]
    )
    what_is_whole(lambda: draw(record), None)


def logs(
    run: str = RunArgument,
    follow: bool = typer.Option(False, "-f", "--follow", help="Go on until the run ends."),
    worker: int | None = typer.Option(None, "--worker", help="One worker's own log instead of the driver's."),
    address: str | None = context.RunAddressOption,
    as_json: bool = typer.Option(False, "--json", help="Print the events as lines of JSON."),
) -> None:
    """Print what a run said.

    \b
    platform logs stdlib-gpt -f
    platform logs stdlib-gpt --worker 0
    """
    import time

    from trainshed.record.index import find_run
    from trainshed.record.run import ENDED

    record = find_run(context.storage(), run)
    name = "logs/driver.log" if worker is None else f"logs/worker-{worker}.log"
    name = "events.jsonl" if as_json else name
    shown = 0
    asked_at = time.monotonic()
    while True:
        ended = record.state in ENDED
        content = record.storage.read(record.at(name)) if record.storage.exists(record.at(name)) else b""
        whole = content.rfind(b"\n") + 1
        if whole > shown:
            new = content[shown:whole].decode("utf-8", "replace")
            typer.echo(json_lines(new) if as_json else new, nl=False)
            shown = whole
            asked_at = time.monotonic()
        if not follow or ended:
            break
        if time.monotonic() - asked_at > LOG_SILENCE_S:
            asked_at = time.monotonic()
            seen = States(address).see(record)
            if seen.state == LOST:
                say(f"{record.run_id} is lost: {seen.why}")
                break
        time.sleep(LOG_POLL_S)
    if not shown and not follow:
        say(f"nothing in {record.storage.address(record.at(name))} yet")


def _url_of(job: dict[str, Any]) -> str | None:
    from trainshed.record.cluster import cluster_of

    name = cluster_of(job)
    return None if name is None else name.url


def _lineage_of(record: Record) -> dict[str, JsonValue] | None:
    found = record.endpoint_lineage if record.facts.job.kind == "serve" else record.lineage
    return None if found is None else found.as_json()


def _summary(record: Record, state: SeenState) -> dict[str, str]:
    from trainshed.record.facts import what_is_whole

    facts = record.facts
    return {
        "run_id": record.run_id,
        "name": facts.job.name,
        "kind": facts.job.kind,
        "state": state,
        "created_at": facts.created_at,
        "submission_id": facts.submission_id,
        "headline": what_is_whole(lambda: headline(record), ""),
    }
