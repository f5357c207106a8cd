"""The `platform` command: all verbs, and how an error becomes one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer._click.exceptions import ClickException  # typer carries its own click and exports no base class

from trainshed import __version__
from trainshed.cli import cluster, control, data, endpoints, jobs, models, runs, sweeps
from trainshed.cli.show import printable, tell_what_is_passed_over
from trainshed.errors import PlatformError

app = typer.Typer(
    name="platform",
    help="Trains, tunes and serves transformers on Ray: one job file from raw text to a served, traceable model.",
    epilog="Exit codes: 0 ok, 1 the job failed, 2 usage or job file, 3 plan refused, 4 no capacity, 5 budget reached, "
    "130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
jobs.add_to(app)
runs.add_to(app)
control.add_to(app)
sweeps.add_to(app)
data.add_to(app)
models.add_to(app)
endpoints.add_to(app)
cluster.add_to(app)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"trainshed {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(  # noqa: ARG001 - its callback has acted on it
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    tell_what_is_passed_over()


def run(command: Callable[..., Any] = app) -> None:
    """Entry point: runs the command, which somebody may have built before, and exits with its code."""
    try:
        code = command(standalone_mode=False) or 0
    except PlatformError as error:
        said = printable(str(error))
        typer.echo(f"error: {said}" if "\n" not in said else said, err=True)
        code = error.exit_code
    except ClickException as error:
        error.show()
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("interrupted", err=True)
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:  # a disk, a mode, a store that does not answer: not of our making, and no traceback helps
        typer.echo(f"error: {printable(str(error)).splitlines()[0]}", err=True)
        code = PlatformError.exit_code
    sys.exit(code)
