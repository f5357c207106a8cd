"""The verbs about data: show rows as they will be trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from trainshed.cli import context
from trainshed.cli.show import is_terminal, print_json, printable

if TYPE_CHECKING:
    from trainshed.spec.load import LoadedJob

data = typer.Typer(
    help="Look at data as it will be trained.", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)


def add_to(app: typer.Typer) -> None:
    """Adds the verbs."""
    data.command("show")(show_data)
    app.add_typer(data, name="data")


@data.callback()
def _data() -> None:
    """Look at data as it will be trained."""


def show_data(
    target: str = typer.Argument(..., metavar="FILE|RUN", help="A job file with a prepare document, or a prepare run."),
    rows: int = typer.Option(3, "--rows", min=1, max=1000, help="Rows to show."),
    as_json: bool = context.JsonOption,
) -> None:
    """Show rows as they will be trained: what is learnt of them, how long they are, what is cut or left out.

    What is not learnt is dimmed on a terminal; elsewhere what is learnt stands between » and «. Of a job file the first
    thousand rows are looked at on this machine, and nothing is written.

    \b
    platform data show jobs/sft-chat.yaml
    platform data show my-chats --rows 10
    """
    answers = _of_file(Path(target), rows) if Path(target).is_file() else [_of_run(target, rows)]
    if as_json:
        print_json(answers)
        return
    for answer in answers:
        _print(answer)


def _of_file(file: Path, rows: int) -> list[dict[str, Any]]:
    from trainshed.client.preview import preview_of_job
    from trainshed.errors import UsageError
    from trainshed.spec.data.prepare import PrepareJob
    from trainshed.spec.load import load_files

    loaded: list[LoadedJob] = [one for one in load_files([file]) if isinstance(one.job, PrepareJob)]
    if not loaded:
        raise UsageError(f"{file}: no prepare document in it; `platform data show` takes one, or a prepare run")
    return [preview_of_job(one, rows) for one in loaded]


def _of_run(target: str, rows: int) -> dict[str, Any]:
    from trainshed.client.preview import preview_of_data
    from trainshed.record.built_on import prepared
    from trainshed.record.index import find_run

    storage = context.storage()
    return preview_of_data(storage.uri, prepared(find_run(storage, target)).data, rows)


def _print(answer: dict[str, Any]) -> None:
    for row in answer["rows"]:
        why = f": {row['why']}" if row["why"] else ""
        fate = "" if row["fate"] == "whole" else f", {row['fate']}{why}"
        target = f" and {row['target_tokens']} of the target" if "target_tokens" in row else ""
        typer.echo(printable(f"{row['origin']}: {row['tokens']} tokens{target}, {row['learnt']} learnt{fate}"))
        typer.echo(_text(row["pieces"]))
        if "rejected" in row:
            typer.echo("rejected:")
            typer.echo(_text(row["rejected"]))
        typer.echo()
    for line in _summary(answer):
        typer.echo(printable(line))


def _text(pieces: list[list[Any]]) -> str:
    if is_terminal():
        return "".join(typer.style(printable(text), dim=not learnt) for text, learnt in pieces)
    return "".join(f"»{printable(text)}«" if learnt else printable(text) for text, learnt in pieces)


def _summary(answer: dict[str, Any]) -> list[str]:
    lengths = answer["lengths"]
    said = [f"format      {answer['format']}"] if answer["format"] else []
    if lengths:
        said.append(
            f"lengths     median {lengths['median']}, 95 % within {lengths['p95']}, longest {lengths['most']} tokens, "
            f"of the {answer['looked_at']:,} rows looked at"
        )
    said += [f"{fate:<11} {count:,}" for fate, count in answer["fates"].items()]
    if answer["not_as_asked"]:
        said.append(f"not as asked {answer['not_as_asked']:,}: the chat template asks for an answer in another way")
    said += [f"bad row     {one}" for one in answer["bad_rows"]]
    return said
