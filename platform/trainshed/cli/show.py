"""How things look on a terminal: tables, sizes, times, and JSON for programs."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import typer

_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Marks that turn the order of what follows around."""


def say(message: str) -> None:
    """One line about what is being done; on stderr, so that --json stays clean."""
    typer.echo(printable(message), err=True)


def printable(text: str) -> str:
    """Text without what a terminal obeys: much of what is shown was written by a job, or by who writes to storage."""
    return "".join("?" if _is_order(character) else character for character in text)


def _is_order(character: str) -> bool:
    """Whether it is a control character but for the ends of lines and tabs, or half of a surrogate pair."""
    return (unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t") or character in _DIRECTIONS


def tell_what_is_passed_over() -> None:
    """Reports each storage file that is skipped, once, in one line on stderr."""
    logging.getLogger("trainshed.record").handlers = [_Tell()]


class _Tell(logging.Handler):
    """Prints what is logged, the same line once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one line."""
        message = " ".join(record.getMessage().split())
        if message not in self._said:
            self._said.add(message)
            say(f"passed over: {message}")


def print_json(value: Any) -> None:
    """A value for programs."""
    typer.echo(json_text(value, indent=2))


def print_json_line(value: Any) -> None:
    """A value for programs that read line by line, as beside the events of a run that is followed."""
    typer.echo(json_text(value))


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON as the standard has it (RFC 8259): a number that is none, or has no end, is null."""
    return json.dumps(_finite(value), indent=indent, default=str, allow_nan=False)


def json_lines(text: str) -> str:
    """Lines of JSON that Python wrote, each as `json_text` has it; one that is not JSON stays."""
    return "".join(f"{_json_line(line)}\n" for line in text.splitlines())


def _json_line(line: str) -> str:
    try:
        return json_text(json.loads(line))
    except ValueError:
        return line


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str) -> None:
    """Aligned columns, or `empty` where there are no rows."""
    if not rows:
        typer.echo(empty)
        return
    texts = [[_one_line(cell) if cell is not None else "-" for cell in row] for row in rows]
    widths = [max(len(column), *(len(row[n]) for row in texts)) for n, column in enumerate(columns)]
    for line in [list(columns), *texts]:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_facts(facts: Sequence[tuple[str, Any]]) -> None:
    """Name and value, one a line; None is left out."""
    width = max((len(name) for name, _ in facts), default=0)
    for name, value in facts:
        if value is not None:
            typer.echo(f"{name.ljust(width)}  {_one_line(value)}")


def _one_line(value: Any) -> str:
    return printable(" ".join(str(value).splitlines()))


def size(count: float) -> str:
    """Bytes in the unit that reads best."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def number(value: float) -> str:
    """A count in the unit that reads best: 1,234 or 3.7 M."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= limit:
            return f"{value / limit:.2f} {unit}"
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """`8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def ago(timestamp: str) -> str:
    """How long ago an ISO time was."""
    return duration((datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds()) + " ago"


def own_name() -> str:
    """How the user can call this command again: `platform` where that is it, else the path from here."""
    found = shutil.which("platform")
    me = os.path.abspath(sys.argv[0])
    return "platform" if found and os.path.samefile(found, me) else os.path.relpath(me)


def is_terminal() -> bool:
    """Whether a person looks at stdout."""
    return sys.stdout.isatty()
