"""The first rows of files on this machine: the format that they have, and whether they are what the job says.

Knows rows and formats; tokenises nothing. A mistake in the data is found before anything is handed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from trainshed.spec.data.conversations import conversation_of, preference_of
from trainshed.spec.data.formats import CONVERSATIONS, KEYS, Format, format_of
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.data.rows import BadRow, Row, rows
from trainshed.spec.data.sources import Csv, JsonLines
from trainshed.spec.data.values import BadValue, text_of

LOOKED_AT_BYTES = 4_000_000
"""Of each file: a job of gigabytes is not read twice."""
LOOKED_AT_ROWS = 2_000


def first_fault(job: PrepareJob, files: Sequence[Path]) -> str | None:
    """What is wrong with the first bad row of these files, as `file:line: why`; None where none is seen.

    A job that leaves bad rows out has none, and neither has one without a format.
    """
    if job.format is None or job.bad_rows.kind == "skip":
        return None
    name = job.format if job.format != "auto" else None
    for file in files:
        for row in islice(_rows(job, file), LOOKED_AT_ROWS):
            if isinstance(row, BadRow):
                return str(row)
            name = name or format_of(row.fields)
            why = _fault(row, name, job)
            if why is not None:
                return f"{row.origin}: {why}"
    return None


def _fault(row: Row, name: Format | None, job: PrepareJob) -> str | None:
    if name is None:
        known = "; ".join(f"{one}: {' and '.join(keys)}" for one, keys in KEYS.items())
        return f"format: auto knows no rows with {', '.join(map(str, row.fields))}; known are {known}"
    keys = job.keys if job.format != "auto" else KEYS[name]
    missing = [key for key in keys if key not in row.fields]
    if missing:
        return f"no field {missing[0]!r}; it has {', '.join(map(str, row.fields))}"
    try:
        if name in CONVERSATIONS:
            conversation_of(name, row.fields)
        elif name == "preference":
            preference_of(row.fields)
        else:
            for key in keys:
                _text(key, row)
    except BadValue as error:
        return str(error)
    return None


def _text(key: str, row: Row) -> None:
    try:
        text_of(row.fields[key])
    except BadValue as error:
        raise BadValue(f"{key}: {error}") from None


def _rows(job: PrepareJob, file: Path) -> Iterator[Row | BadRow]:
    """The rows at the beginning of a file; a compressed one is read whole, and a line that is cut off is left out."""
    source = job.source
    assert isinstance(source, JsonLines | Csv)
    with file.open("rb") as stream:
        content = stream.read() if file.suffix.lower() == ".gz" else stream.read(LOOKED_AT_BYTES)
        more = bool(stream.read(1))
    if more:
        content = content[: content.rfind(b"\n") + 1]
    yield from rows(source, content, file.name)
