"""The `platform` command in this process: as fast as a function, with what a shell would see of it."""

import sys
from dataclasses import dataclass

from typer.main import get_command

from trainshed.cli.main import app, run

COMMAND = get_command(app)
"""Built once: that takes longer than most verbs."""


@dataclass(frozen=True)
class Called:
    """What the command left."""

    code: int
    out: str
    err: str


def call(capsys, *arguments):
    """Runs a verb; an error that no line was made of is raised."""
    before, sys.argv = sys.argv, [sys.argv[0], *map(str, arguments)]
    capsys.readouterr()
    try:
        run(COMMAND)
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.argv = before
    shown = capsys.readouterr()
    return Called(code, shown.out, shown.err)
