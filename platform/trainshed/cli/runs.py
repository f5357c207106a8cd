"""The verbs about runs: runs, show, logs, stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from trainshed.cli import context
from trainshed.cli.run_page import draw, facts_of, headline
from trainshed.cli.show import ago, print_facts, print_json, print_table, say

if TYPE_CHECKING:
    from trainshed.record.run import Record

RunArgument = typer.Argument(..., help="A run id, or a name: its newest run.", show_default=False)
LOG_POLL_S = 0.2


def add_to(app: typer.Typer) -> None:
    """Adds the verbs."""
    app.command()(runs)
    app.command()(show)
    app.command()(logs)
    app.command()(stop)


def runs(
    limit: int = typer.Option(20, "--limit", "-n", help="So many, newest first."), as_json: bool = context.JsonOption
) -> None:
    """List runs, newest first.

    \b
    platform runs
    platform runs --json -n 100
    """
    from trainshed.record.run import all_runs

    found = [_summary(run) for run in all_runs(context.storage())[:limit]]
    if as_json:
        print_json(found)
        return
    rows = [[one["run_id"], one["kind"], one["state"], ago(one["created_at"]), one["headline"]] for one in found]
    print_table(
        ["RUN", "KIND", "STATE", "CREATED", ""],
        rows,
        empty="no runs yet; `platform submit jobs/quickstart.yaml` makes some",
    )


def show(run: str = RunArgument, as_json: bool = context.JsonOption) -> None:
    """Draw one run: state, why it ended, loss curve, best trial, checkpoint, endpoint.

    \b
    platform show stdlib-gpt
    """
    from trainshed.record.run import find_run

    record = find_run(context.storage(), run)
    if as_json:
        print_json(
            {
                "state": _state(record),
                "job": record.job,
                "result": record.result,
                "lineage": record.lineage,
                "metrics": record.metrics,
            }
        )
        return
    job, result = record.job, record.result or {}
    print_facts(
        [
            ("run", record.run_id),
            ("kind", job["job"]["kind"]),
            ("state", _state(record)),
            ("why", result.get("cause")),
            ("full log", result.get("log")),
            ("created", f"{job['created_at']} ({ago(job['created_at'])})"),
            ("ended", result.get("ended_at")),
            ("submission", job["submission_id"]),
            (
                "code",
                f"{job['code']['version']}, {job['code']['package_sha256'][:12]}, commit {job['code']['git_commit']}",
            ),
            *facts_of(record, job["job"], result),
            ("directory", record.storage.address(record.at())),
        ]
    )
    draw(record)


def logs(
    run: str = RunArgument,
    follow: bool = typer.Option(False, "-f", "--follow", help="Go on until the run ends."),
    worker: int | None = typer.Option(None, "--worker", help="One worker's own log instead of the driver's."),
    as_json: bool = typer.Option(False, "--json", help="Print the events as lines of JSON."),
) -> None:
    """Print what a run said.

    \b
    platform logs stdlib-gpt -f
    platform logs stdlib-gpt --worker 0
    """
    import time

    from trainshed.record.run import ENDED, find_run

    record = find_run(context.storage(), run)
    name = "events.jsonl" if as_json else f"logs/worker-{worker}.log" if worker is not None else "logs/driver.log"
    shown = 0
    while True:
        ended = record.state in ENDED
        content = record.storage.read(record.at(name)) if record.storage.exists(record.at(name)) else b""
        whole = content.rfind(b"\n") + 1
        if whole > shown:
            typer.echo(content[shown:whole].decode("utf-8", "replace"), nl=False)
            shown = whole
        if not follow or ended:
            break
        time.sleep(LOG_POLL_S)
    if not shown and not follow:
        say(f"nothing in {record.storage.address(record.at(name))} yet")


def stop(run: str = RunArgument, address: str | None = context.AddressOption) -> None:
    """Stop a run, or take down the endpoint that a serve run deployed.

    \b
    platform stop stdlib-gpt
    platform stop stdlib-complete
    """
    from trainshed.client.stop import stop_submission
    from trainshed.record.run import find_run

    storage = context.storage()
    record = find_run(storage, run)
    where = context.need_address(address)
    submission = record.job["submission_id"]
    if record.result is not None:
        _stop_ended(record, where)
        return
    ended = stop_submission(where, submission)
    say(f"{record.run_id}: the submission {submission} is {ended.state.lower()}")


def _stop_ended(record: Record, where: Any) -> None:
    from trainshed.client.stop import delete_endpoint
    from trainshed.errors import UsageError
    from trainshed.record.endpoints import all_endpoints

    served = [one for one in all_endpoints(record.storage) if one["run_id"] == record.run_id]
    if not served:
        raise UsageError(f"{record.run_id} has already ended ({record.state}); nothing to stop")
    delete_endpoint(where, record.storage, served[0]["name"])
    say(f"the endpoint {served[0]['name']} is down")


def _summary(record: Record) -> dict[str, Any]:
    job, result = record.job, record.result or {}
    return {
        "run_id": record.run_id,
        "name": job["job"]["name"],
        "kind": job["job"]["kind"],
        "state": _state(record),
        "created_at": job["created_at"],
        "submission_id": job["submission_id"],
        "headline": headline(job["job"]["kind"], result),
    }


def _state(record: Record) -> str:
    """The Record's state; `lost` where the cluster that ran it is gone or says that it ended without a result."""
    state = record.state
    if state not in ("running", "waiting"):
        return state
    from trainshed.client.stop import is_alive

    return state if is_alive(context.home(), record.job["submission_id"]) else "lost"
