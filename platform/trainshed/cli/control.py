"""The verbs that act on a run: stop, resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from trainshed.cli import context
from trainshed.cli.runs import RunArgument
from trainshed.cli.show import print_json, print_json_line, say
from trainshed.cli.states import States
from trainshed.spec.kinds import GO_ON

if TYPE_CHECKING:
    from trainshed.record.run import Record

ChangeOption = typer.Option(
    [],
    "--set",
    metavar="PATH=VALUE",
    help="Change how it goes on: workers, engine, steps, checkpoint, validation, recovery, max_failures, report_to.",
)


def add_to(app: typer.Typer) -> None:
    """Adds the verbs."""
    app.command()(stop)
    app.command()(resume)


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
    from trainshed.record.index import find_run

    record = find_run(context.storage(), run)
    states = States(address)
    if record.result is not None:
        _stop_ended(record, states)
        return
    where = states.clusters.of(record.job)
    from trainshed.client.stop import GRACE_S, stop_run  # HTTP: a name that does not exist does not pay for it

    if not now and record.facts.job.kind in GO_ON:
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
    from trainshed.record.index import Index

    storage = context.storage()
    states = States(address)
    index = Index(storage)
    record = index.run(run)
    from trainshed.cli.follow import follow_submission  # a name that does not exist does not pay for these
    from trainshed.client import resume as client
    from trainshed.client.ready import until_ready

    seen = states.see(record)
    prepared = client.prepare(record, seen.state, sets, index, why=seen.why)
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
