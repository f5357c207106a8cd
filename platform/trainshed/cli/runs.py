"""The verbs about runs: runs, show, logs, stop, resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from trainshed.cli import context
from trainshed.cli.run_page import draw, facts_of, headline
from trainshed.cli.show import ago, json_lines, print_facts, print_json, print_json_line, print_table, say
from trainshed.cli.states import LOST, States

if TYPE_CHECKING:
    from pydantic import JsonValue

    from trainshed.client.alive import SeenState
    from trainshed.record.run import Record

RunArgument = typer.Argument(..., help="A run id, or a name: its newest run.", show_default=False)
ChangeOption = typer.Option(
    [],
    "--set",
    metavar="PATH=VALUE",
    help="Change how it goes on: workers, engine, steps, checkpoint, validation, recovery, max_failures.",
)
LOG_POLL_S = 0.2
LOG_SILENCE_S = 5.0
"""After so long without a new line the run's cluster is asked whether there will be one."""


def add_to(app: typer.Typer) -> None:
    """Adds the verbs."""
    app.command()(runs)
    app.command()(show)
    app.command()(logs)
    app.command()(stop)
    app.command()(resume)


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
    from trainshed.record.run import all_runs

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
    from trainshed.record.run import find_run

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
    facts, end = record.facts, what_is_whole(lambda: record.end, None)
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

    from trainshed.record.run import ENDED, find_run

    record = find_run(context.storage(), run)
    name = "logs/driver.log" if worker is None else f"logs/worker-{worker}.log"
    name = "events.jsonl" if as_json else name
    shown, asked_at = 0, time.monotonic()
    while True:
        ended = record.state in ENDED
        content = record.storage.read(record.at(name)) if record.storage.exists(record.at(name)) else b""
        whole = content.rfind(b"\n") + 1
        if whole > shown:
            new = content[shown:whole].decode("utf-8", "replace")
            typer.echo(json_lines(new) if as_json else new, nl=False)
            shown, asked_at = whole, time.monotonic()
        if not follow or ended:
            break
        if time.monotonic() - asked_at > LOG_SILENCE_S:
            asked_at, seen = time.monotonic(), States(address).see(record)
            if seen.state == LOST:
                say(f"{record.run_id} is lost: {seen.why}")
                break
        time.sleep(LOG_POLL_S)
    if not shown and not follow:
        say(f"nothing in {record.storage.address(record.at(name))} yet")


def stop(
    run: str = RunArgument,
    now: bool = typer.Option(False, "--now", help="Do not wait for a training to save first."),
    address: str | None = context.RunAddressOption,
    as_json: bool = context.JsonOption,
) -> None:
    """Stop a run, or take down the endpoint that a serve run deployed. A training saves first.

    \b
    platform stop stdlib-gpt
    platform stop stdlib-gpt --now
    platform stop stdlib-complete
    """
    from trainshed.record.run import find_run

    record, states = find_run(context.storage(), run), States(address)
    if record.result is not None:
        _stop_ended(record, states)
        return
    where = states.clusters.of(record.job)
    from trainshed.client.stop import GRACE_S, stop_run  # HTTP: a name that does not exist does not pay for it

    if not now and record.facts.job.kind in ("train", "tune"):
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
    address: str | None = context.RunAddressOption,
    start_timeout_s: float | None = context.StartTimeoutOption,
    as_json: bool = context.JsonOption,
) -> None:
    """Go on with a training that failed, was stopped, or was lost: same run, from its newest checkpoint.

    The documents after it in its job file follow. The number of workers and the ZeRO stage may change.

    \b
    platform resume stdlib-gpt
    platform resume stdlib-gpt --set workers.count=1 --set engine.zero_stage=1
    platform resume stdlib-gpt --detach --json
    """
    from trainshed.record.run import find_run

    storage, states = context.storage(), States(address)
    record = find_run(storage, run)
    from trainshed.cli.follow import follow_submission  # a name that does not exist does not pay for these
    from trainshed.client import resume as client
    from trainshed.client.ready import until_ready

    seen = states.see(record)
    prepared = client.prepare(record, seen.state, sets, why=seen.why)
    own = states.clusters.to_go_on(record.job)
    where = own or context.address_or_local(address, start_timeout_s=start_timeout_s)
    until_ready(where, say=say, start_timeout_s=start_timeout_s)
    submitted = client.resume(prepared, where, storage, home=context.home(), say=say)
    runs_of_it = [planned.run_id for planned in submitted.runs]
    if as_json:
        from trainshed.record.events import Submitted

        print_json_line(Submitted(submitted.submission_id, tuple(runs_of_it), where.url).facts())
    else:
        say(f"resumed {record.run_id} as {submitted.submission_id} at {where.url}")
    if follow:
        raise typer.Exit(follow_submission(where, submitted.submission_id, runs_of_it, as_json=as_json))


def _stop_ended(record: Record, states: States) -> None:
    from trainshed.errors import UsageError
    from trainshed.record.endpoints import all_endpoints, drop_endpoint

    served = [one for one in all_endpoints(record.storage) if one.run_id == record.run_id]
    if not served:
        raise UsageError(f"{record.run_id} has already ended ({record.state}); nothing to stop")
    if states.clusters.has_ended(record.job):
        drop_endpoint(record.storage, served[0].name)
        say(f"the endpoint {served[0].name} ended with its cluster, and is forgotten")
        return
    from trainshed.client.stop import delete_endpoint

    delete_endpoint(states.clusters.of(record.job), record.storage, served[0].name)
    say(f"the endpoint {served[0].name} is down")


def _url_of(job: Mapping[str, Any]) -> str | None:
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
