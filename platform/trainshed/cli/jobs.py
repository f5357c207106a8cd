"""The verbs about job files: submit, check, plan, schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from trainshed.cli import context
from trainshed.cli.plan_page import print_plans
from trainshed.cli.show import print_json, print_json_line, say

if TYPE_CHECKING:
    from trainshed.client.plan import Planned
    from trainshed.record.storage import Storage

FilesArgument = typer.Argument(..., help="Job files; their documents run in order.", show_default=False)
SetOption = typer.Option(
    [],
    "--set",
    metavar="PATH=VALUE",
    help="Set one value, like stdlib-gpt.steps=200; the path starts with a document's name or kind.",
)


def add_to(app: typer.Typer) -> None:
    """Adds the verbs."""
    app.command()(submit)
    app.command()(check)
    app.command()(plan)
    app.command()(schema)


def submit(
    files: list[Path] = FilesArgument,
    sets: list[str] = SetOption,
    follow: bool = typer.Option(True, "--follow/--detach", help="Show progress until the end, or return at once."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Check and plan; hand nothing over."),
    profile: Path | None = context.ProfileOption,
    address: str | None = context.AddressOption,
    start_timeout_s: float | None = context.StartTimeoutOption,
    as_json: bool = context.JsonOption,
) -> None:
    """Check a job and hand it to a Ray cluster.

    With no cluster configured a real Ray is started on this machine; it stays up until `platform cluster down`.
    With --json every line of the output is one JSON object: first what was submitted, then each event.

    \b
    platform submit jobs/quickstart.yaml
    platform submit jobs/quickstart.yaml --set stdlib-gpt.steps=100 --detach
    platform submit prepare.yaml train.yaml --address http://head:8265
    """
    planned, storage = _prepared(files, sets, address, profile)
    if dry_run:
        print_plans(planned.plans, as_json=as_json)
        return
    from trainshed.cli.follow import follow_submission  # progress bars: a refused job does not pay for them
    from trainshed.client import submit as client
    from trainshed.client.ready import until_ready

    where = context.address_or_local(address, start_timeout_s=start_timeout_s)
    until_ready(where, say=say, start_timeout_s=start_timeout_s)
    submitted = client.submit(planned, where, storage, home=context.home(), say=say)
    if as_json:
        from trainshed.record.events import Submitted

        runs = tuple(run.run_id for run in submitted.runs)
        print_json_line(Submitted(submitted.submission_id, runs, where.url).facts())
    else:
        say(f"submitted {submitted.submission_id} to {where.url}")
        for run in submitted.runs:
            typer.echo(f"{run.job['kind']:9} {run.run_id}")
    if follow:
        raise typer.Exit(
            follow_submission(where, submitted.submission_id, [run.run_id for run in submitted.runs], as_json=as_json)
        )


def check(
    files: list[Path] = FilesArgument,
    sets: list[str] = SetOption,
    profile: Path | None = context.ProfileOption,
    as_json: bool = context.JsonOption,
) -> None:
    """Find every mistake in job files, each with file, line and key.

    \b
    platform check jobs/quickstart.yaml
    """
    loaded = _prepared(files, sets, None, profile)[0].loaded
    if as_json:
        print_json([one.job.model_dump(mode="json", by_alias=True) for one in loaded])
        return
    for one in loaded:
        typer.echo(f"{one.document.file}:{one.document.line}: {one.job.kind} {one.job.name}: ok")


def plan(
    files: list[Path] = FilesArgument,
    sets: list[str] = SetOption,
    profile: Path | None = context.ProfileOption,
    as_json: bool = context.JsonOption,
) -> None:
    """Say what a job will need: batch, tokens, memory of a worker under each ZeRO stage; exit 3 where it cannot fit.

    An `auto` is answered as `submit` will answer it: the least communication that fits, then the largest batch.

    \b
    platform plan jobs/quickstart.yaml
    platform plan train.yaml --set workers.memory_gb=80
    platform plan train.yaml --profile cluster/gpu-cloud.yaml
    """
    print_plans(_prepared(files, sets, None, profile)[0].plans, as_json=as_json)


def schema() -> None:
    """Print the JSON Schema of a job document, for editors.

    \b
    platform schema > job.schema.json
    """
    from trainshed.spec.job import JobDocument

    print_json(JobDocument.model_json_schema())


def _prepared(files: list[Path], sets: list[str], address: str | None, profile: Path | None) -> tuple[Planned, Storage]:
    """Runs every check that comes before a job is handed over, the cheap ones first."""
    from trainshed.client.read import read

    asked = read(files, sets, context.profile_file(profile))
    from trainshed.client.submit import prepare  # pyarrow: a file that is wrong in itself does not pay for it
    from trainshed.record.index import Index

    storage = context.storage()
    return prepare(asked, Index(storage), here=_is_here(address), say=say), storage


def _is_here(address: str | None) -> bool:
    """Whether the job will run on this machine."""
    found = context.address_or_none(address)
    return found is None or found.local is not None
