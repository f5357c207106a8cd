"""The samples of a source's files; runs in a Ray Data worker, needs no Ray.

A sample is `{"text" | "image" | "messages" | "preference", "target", "label", "origin", "split"}`: what the job reads,
where it came from, and the split its file belongs to ("" where the job's own rule decides). Conversations are JSON. An
image is its bytes `(channels, size, size)`, and has `done`: what was done to it beside resizing. A label is JSON, one
type for all rows of a column.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, assert_never

import pyarrow.fs as pafs

from trainshed.errors import PlatformError
from trainshed.runtime.data.bad_rows import BadRows
from trainshed.runtime.data.found import Found
from trainshed.runtime.modalities.image.reader import decode
from trainshed.spec.data.conversations import conversation_of, preference_of
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.data.rows import BadRow, Row, rows
from trainshed.spec.data.sources import Builtin, Csv, Images, JsonLines, TextFiles
from trainshed.spec.data.values import BadValue, LabelKind, label_of, text_of

FIELDS_SAID = 10
WHOLE_ROWS = ("messages", "preference")
"""What is made of several fields of a row."""


class SampleReader:
    """Reads what a job wants of a file."""

    def __init__(self, job: PrepareJob, found: Found, bad_rows: BadRows | None = None) -> None:
        self._source = job.source
        self._fields = job.read_fields
        self._format = job.format
        self._keys = job.keys
        self._label_kind: LabelKind = job.examples.label_kind if job.examples is not None else "class"
        self._found = found
        self._bad_rows = bad_rows
        self._here = os.getcwd()

    def samples(self, file: dict[str, Any]) -> list[dict[str, object]]:
        """Every sample of the file with a `path` and a `number`; what is none is kept as a finding.

        Raises:
            PlatformError: the file cannot be read at all.
        """
        made: list[dict[str, object]] = []
        bad: list[BadRow] = []
        for sample in self.read(content_of(self._found.fs, file["path"]), file["path"]):
            if not isinstance(sample, BadRow):
                made.append(sample)
                continue
            bad.append(sample)
            if self._bad_rows is not None and len(bad) >= self._bad_rows.most:
                break
        if bad and self._bad_rows is not None:
            self._bad_rows.keep(file["number"], bad)
        return made

    def read(self, content: bytes, path: str) -> Iterator[dict[str, object] | BadRow]:
        """The samples and the bad rows in a file's bytes, in their order."""
        for row in self._rows(content, path):
            yield row if isinstance(row, BadRow) else self.sample(row, self._found.splits[path])

    def sample(self, row: Row, split: str) -> dict[str, object] | BadRow:
        """What the job reads of a row, by what it is."""
        made: dict[str, object] = {"origin": row.origin, "split": split}
        missing = [key for key in self._keys if key not in row.fields]
        if missing:
            return BadRow.of(row.origin, f"no field {missing[0]!r}; it has {_named(row.fields)}")
        for what, field in self._fields.items():
            if field not in row.fields:
                return BadRow.of(row.origin, f"no field {field!r}; it has {_named(row.fields)}")
            try:
                made[what] = self._value(what, row.fields[field], row)
            except BadValue as error:
                return BadRow.of(row.origin, str(error) if what in WHOLE_ROWS else f"{field}: {error}")
        if "done" in row.fields:
            made["done"] = row.fields["done"]
        return made

    def _value(self, what: str, value: Any, row: Row) -> Any:
        match what:
            case "messages" if self._format is not None and self._format != "auto":
                return conversation_of(self._format, row.fields).as_json()
            case "preference":
                return preference_of(row.fields).as_json()
            case "image":
                return value
            case "label":
                return json.dumps(label_of(value, self._label_kind))
            case _:
                return text_of(value)

    def _rows(self, content: bytes, path: str) -> Iterator[Row | BadRow]:
        shown = self._shown(path)
        match self._source:
            case TextFiles() | JsonLines() | Csv() as source:
                yield from rows(source, content, shown)
            case Images() as source:
                image = decode(content, shown, source)
                if isinstance(image, BadRow):
                    yield image
                    return
                done = json.dumps(image.done)
                yield Row({"image": image.pixels, "label": self._found.classes[path], "done": done}, shown)
            case Builtin():
                raise ValueError("a builtin source has no files")
            case _:
                assert_never(self._source)

    def _shown(self, path: str) -> str:
        """A path as messages say it: what went up with the job lies in a folder that says nothing to anybody."""
        return path.removeprefix(f"{self._here}/")


def first_row(job: PrepareJob, found: Found) -> Row | None:
    """The first row of a job's files; None where there is none.

    Raises:
        PlatformError: it cannot be read.
    """
    source = job.source
    assert isinstance(source, TextFiles | JsonLines | Csv)
    for path in found.files:
        for row in rows(source, content_of(found.fs, path), path):
            if isinstance(row, BadRow):
                raise PlatformError(str(row))
            return row
    return None


def content_of(fs: pafs.FileSystem, path: str) -> bytes:
    """The bytes of a file. Raises PlatformError where they cannot be read."""
    try:
        with fs.open_input_stream(path, compression=None) as stream:
            return bytes(stream.read())
    except OSError as error:
        raise PlatformError(f"{path}: cannot be read: {error}") from None


def _named(fields: dict[str, object]) -> str:
    names = list(map(str, fields))
    return ", ".join(names[:FIELDS_SAID]) + (", ..." if len(names) > FIELDS_SAID else "") or "none"
