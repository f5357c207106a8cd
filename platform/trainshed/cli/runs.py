"""The verbs about runs: runs, show, logs, stop, resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from trainshed.cli import context
from trainshed.cli.run_page import draw, facts_of, headline
from trainshed.cli.show import ago, json_lines, print_facts, print_json, print_json_line, print_table, say
from trainshed.cli.states import state_of

if TYPE_CHECKING:
    from trainshed.record.run import Record

RunArgument = typer.Argument(..., help="A run id, or a name: its newest run.", show_default=False)
ChangeOption = typer.Option(
    [],
    "--set",
    metavar="PATH=VALUE",
    help="Change how it goes on: workers, engine, steps, checkpoint, validation, recovery, max_failures.",
)
LOG_POLL_S = 0.2


def add_to(app: typer.Typer) -> None:
    """Adds the verbs."""
    app.command()(runs)
    app.command()(show)
    app.command()(logs)
    app.command()(stop)
    app.command()(resume)


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
                "state": state_of(record),
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
            ("state", state_of(record)),
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
            new = content[shown:whole].decode("utf-8", "replace")
            typer.echo(json_lines(new) if as_json else new, nl=False)
            shown = whole
        if not follow or ended:
            break
        time.sleep(LOG_POLL_S)
    if not shown and not follow:
        say(f"nothing in {record.storage.address(record.at(name))} yet")


def stop(
    run: str = RunArgument,
    now: bool = typer.Option(False, "--now", help="Do not wait for a training to save first."),
    address: str | None = context.AddressOption,
    as_json: bool = context.JsonOption,
) -> None:
    """Stop a run, or take down the endpoint that a serve run deployed. A training saves first.

    \b
    platform stop stdlib-gpt
    platform stop stdlib-gpt --now
    platform stop stdlib-complete
    """
    from trainshed.client.stop import GRACE_S, stop_run
    from trainshed.record.run import find_run

    record = find_run(context.storage(), run)
    where = context.need_address(address)
    if record.result is not None:
        _stop_ended(record, where)
        return
    if not now and record.job["job"]["kind"] in ("train", "tune"):
        say(f"{record.run_id}: asked to save and stop, for at most {GRACE_S:.0f} s; --now does not wait")
    state = stop_run(where, record, grace_s=0 if now else GRACE_S)
    if as_json:
        print_json({"run_id": record.run_id, "state": state, **(record.result or {})})
        return
    from trainshed.cli.follow import stopped

    say(stopped(record, state))


def resume(
    run: str = RunArgument,
    sets: list[str] = ChangeOption,
    follow: bool = typer.Option(True, "--follow/--detach", help="Show progress until the end, or return at once."),
    address: str | None = context.AddressOption,
    as_json: bool = context.JsonOption,
) -> None:
    """Go on with a training that failed, was stopped, or was lost: same run, from its newest checkpoint.

    The documents after it in its job file follow. The number of workers and the ZeRO stage may change.

    \b
    platform resume stdlib-gpt
    platform resume stdlib-gpt --set workers.count=1 --set engine.zero_stage=1
    platform resume stdlib-gpt --detach --json
    """
    from trainshed.cli.follow import follow_submission
    from trainshed.client import resume as client
    from trainshed.record.run import find_run

    storage = context.storage()
    record = find_run(storage, run)
    prepared = client.prepare(record, state_of(record), sets)
    where = context.address_or_local(address)
    submitted = client.resume(prepared, where, storage)
    runs_of_it = [planned.run_id for planned in submitted.runs]
    if as_json:
        facts = {"submission_id": submitted.submission_id, "runs": runs_of_it, "address": where.url}
        print_json_line({"event": "submitted", **facts})
    else:
        say(f"resumed {record.run_id} as {submitted.submission_id} at {where.url}")
    if follow:
        raise typer.Exit(follow_submission(where, submitted.submission_id, runs_of_it, as_json=as_json))


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
        "state": state_of(record),
        "created_at": job["created_at"],
        "submission_id": job["submission_id"],
        "headline": headline(job["job"]["kind"], result),
    }
