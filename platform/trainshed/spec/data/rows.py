"""The rows in a file's bytes: a text, JSON lines, a table. What is no row is told with its line, and reading goes on.

Bytes in, rows out: the laptop looks at header lines with it, the cluster reads everything.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, assert_never

from trainshed.spec.data.encodings import NoText, decoded, foreign, lines, unpacked
from trainshed.spec.data.sources import Csv, JsonLines, TextFiles

MAX_FIELD_CHARACTERS = 2**31 - 1
MAX_FOUND_CHARACTERS = 300


@dataclass(frozen=True)
class Row:
    """The fields of a row by name, and where it is from: `file` or `file:line`."""

    fields: dict[str, object]
    origin: str


@dataclass(frozen=True)
class BadRow:
    """A place that holds no row, and what was found there."""

    origin: str
    found: str

    @staticmethod
    def of(origin: str, found: str) -> BadRow:
        """A bad row whose finding is short text that can be written to a file, whatever it holds."""
        short = found if len(found) <= MAX_FOUND_CHARACTERS else f"{found[:MAX_FOUND_CHARACTERS]}..."
        return BadRow(origin, short.encode("utf-8", "backslashreplace").decode())

    def __str__(self) -> str:
        return f"{self.origin}: {self.found}"


def rows(source: TextFiles | JsonLines | Csv, content: bytes, path: str) -> Iterator[Row | BadRow]:
    """Every row of a file's bytes in their order."""
    text = unpacked(content, path)
    if isinstance(text, NoText):
        yield BadRow.of(path, text.found)
        return
    other = foreign(text, source.encoding)
    if other is not None:
        yield BadRow.of(path, f"expected text, found {other}")
        return
    match source:
        case TextFiles():
            yield _whole(text, path, source)
        case JsonLines():
            yield from _json_rows(text, path, source)
        case Csv():
            yield from _csv_rows(text, path, source)
        case _:
            assert_never(source)


def header(source: Csv, content: bytes, path: str) -> list[str] | BadRow:
    """The names of a table's columns; none where nothing is there."""
    text = unpacked(content, path)
    if isinstance(text, NoText):
        return BadRow.of(path, text.found)
    other = foreign(text, source.encoding)
    if other is not None:
        return BadRow.of(path, f"expected text, found {other}")
    for found in _records(text, path, source):
        return found if isinstance(found, BadRow) else found[0]
    return []


def _whole(content: bytes, path: str, source: TextFiles) -> Row | BadRow:
    text = decoded(content, source.encoding)
    if isinstance(text, NoText):
        return BadRow.of(f"{path}:{text.line}", text.found)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        return BadRow.of(f"{path}:{line}", "a zero byte, which no text has: expected text, found something else")
    return Row({"text": text}, path)


def _json_rows(content: bytes, path: str, source: JsonLines) -> Iterator[Row | BadRow]:
    for number, line in enumerate(lines(content, source.encoding), 1):
        if isinstance(line, NoText):
            yield BadRow.of(f"{path}:{line.line}", line.found)
        elif line.strip():
            yield _json_row(line, f"{path}:{number}")


def _json_row(line: str, origin: str) -> Row | BadRow:
    try:
        row = json.loads(line)
    except RecursionError:
        return BadRow.of(origin, "JSON that is nested too deep to be read")
    except ValueError as error:
        return BadRow.of(origin, f"not JSON: {error}")
    if not isinstance(row, dict):
        return BadRow.of(origin, f"expected a JSON object, got a {type(row).__name__}")
    return Row(row, origin)


def _csv_rows(content: bytes, path: str, source: Csv) -> Iterator[Row | BadRow]:
    columns = list(source.columns) if source.columns is not None else None
    for found in _records(content, path, source):
        if isinstance(found, BadRow):
            yield found
            continue
        values, origin = found
        if columns is None:
            columns = values
        elif len(values) != len(columns):
            named = f"{len(columns)} are named ({', '.join(columns)})"
            look = "look at source.delimiter, source.columns and source.quotes"
            yield BadRow.of(origin, f"{len(values)} fields where {named}; {look}")
        else:
            yield Row(dict(zip(columns, values, strict=True)), origin)


def _records(content: bytes, path: str, source: Csv) -> Iterator[tuple[list[str], str] | BadRow]:
    """The lines of a table as lists of fields, blank ones left out, each with where it begins."""
    csv.field_size_limit(MAX_FIELD_CHARACTERS)  # 131,072 otherwise; one number for the whole process
    fed = _Lines(lines(content, source.encoding, universal=True))
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if source.quotes else csv.QUOTE_NONE
    reader = csv.reader(fed, delimiter=source.delimiter, quoting=quoting)
    while True:
        origin = f"{path}:{fed.begin()}"
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRow.of(origin, f"not CSV: {error}")
            return
        if fed.bad is not None:
            yield BadRow.of(f"{path}:{fed.bad.line}", fed.bad.found)
        elif fed.ended:  # the reader asked for more lines than there are
            yield BadRow.of(origin, "a quote is opened here and never closed; look at source.quotes")
        elif values:
            yield values, origin


class _Lines:
    """The lines that csv.reader asks for; knows which of them belong to the record that it is about to give."""

    def __init__(self, source: Iterable[str | NoText]) -> None:
        self._lines = iter(source)
        self._taken = 0
        self.bad: NoText | None = None
        self.ended = False

    def begin(self) -> int:
        """A new record; the number of its first line."""
        self.bad = None
        return self._taken + 1

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        try:
            line = next(self._lines)
        except StopIteration:
            self.ended = True
            raise
        self._taken += 1
        if isinstance(line, str):
            return line
        self.bad = self.bad or line
        return line.replaced
