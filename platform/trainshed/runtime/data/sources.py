"""Finding the files of a source and reading them as a Ray Dataset of samples.

A sample is `{"text" | "image", "target", "label", "origin", "split"}`: what the job reads, where it came from, and the
split its file belongs to ("" where the job's own rule decides). An image is its bytes `(channels, size, size)`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never

import numpy as np
import pyarrow.fs as pafs
import ray.data
from PIL import Image, UnidentifiedImageError

from trainshed.errors import PlatformError
from trainshed.runtime.data import builtin
from trainshed.spec.prepare import PrepareJob
from trainshed.spec.sources import STDLIB, Builtin, Csv, Images, JsonLines, Source, TextFiles, pattern_below, places

NOT_WRITTEN_BY_HAND = ("site-packages", "test", "tests", "idle_test", "encodings", "pydoc_data", "__pycache__")
"""Folders of the library that hold other people's packages, tests, or generated tables."""

HASH_THREADS = 8
SPLIT_OF = {"path": "", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class Found:
    """The files of a source, sorted, and the split that each belongs to."""

    fs: pafs.FileSystem
    splits: dict[str, str]

    @property
    def files(self) -> list[str]:
        """Their paths."""
        return list(self.splits)


def find_files(source: Source) -> Found:
    """The files a source means.

    Raises:
        PlatformError: nothing matches one of its places, or they lie on different file systems.
    """
    fs: pafs.FileSystem = pafs.LocalFileSystem()
    splits: dict[str, str] = {}
    for number, (key, place) in enumerate(places(source).items()):
        found_on, files = _find(source, place)
        if not files:
            raise PlatformError(f"source.{key}: no file matches {place!r} on the cluster")
        if number and not fs.equals(found_on):
            raise PlatformError(
                f"source.{key}: {place!r} lies on another file system than source.path; put them on one"
            )
        fs = found_on
        splits |= {file: SPLIT_OF[key] for file in files if file not in splits or SPLIT_OF[key]}
    return Found(fs, splits)


def hash_files(found: Found) -> list[str]:
    """SHA-256 of each file's content, in order; what "unchanged" means for a second run."""

    def one(path: str) -> str:
        digest = hashlib.sha256()
        with found.fs.open_input_stream(path) as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest()

    with ThreadPoolExecutor(HASH_THREADS) as pool:
        return list(pool.map(one, found.files))


def read(job: PrepareJob, found: Found) -> ray.data.Dataset:
    """A dataset of samples in the order of the files."""
    if isinstance(job.source, Builtin):
        made = [SampleReader(job, {}).sample(row, row["origin"], "") for row in builtin.rows(job.source)]
        return ray.data.from_items(made)
    raw = ray.data.read_binary_files(found.files, filesystem=found.fs, include_paths=True)
    return raw.flat_map(_samples_of, fn_kwargs={"columns": SampleReader(job, found.splits)})


class SampleReader:
    """The samples of one file; runs in a Ray Data worker."""

    def __init__(self, job: PrepareJob, splits: dict[str, str]) -> None:
        self._source = job.source
        self._fields = job.read_fields
        self._splits = splits

    def samples(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        """Every sample of a file's bytes."""
        path = row["path"]
        return [self.sample(fields, origin, self._splits[path]) for fields, origin in self._rows(row["bytes"], path)]

    def sample(self, row: dict[str, Any], origin: str, split: str) -> dict[str, Any]:
        """What the job reads of a row, by what it is."""
        made: dict[str, Any] = {"origin": origin, "split": split}
        for what, field in self._fields.items():
            if field not in row:
                raise PlatformError(f"{origin}: no field {field!r}; it has {', '.join(map(str, row))}")
            made[what] = row[field] if what in ("image", "label") else str(row[field])
        if "label" in made:
            made["label"] = json.dumps(made["label"])  # one type for all rows of a column
        return made

    def _rows(self, content: bytes, path: str) -> Iterator[tuple[dict[str, Any], str]]:
        match self._source:
            case TextFiles():
                yield {"text": content.decode("utf-8", "replace")}, path
            case JsonLines():
                yield from _json_rows(content, path)
            case Csv() as source:
                yield from _csv_rows(content, path, source)
            case Images() as source:
                yield {"image": load_image(content, path, source), "label": Path(path).parent.name}, path
            case Builtin():
                raise ValueError("a builtin source has no files")
            case _:
                assert_never(self._source)


def _samples_of(row: dict[str, Any], columns: SampleReader) -> list[dict[str, Any]]:
    return columns.samples(row)


def load_image(content: bytes, origin: str, source: Images) -> bytes:
    """An image file as bytes of shape `(channels, size, size)`.

    Raises:
        PlatformError: it is no image that Pillow reads.
    """
    try:
        with Image.open(io.BytesIO(content)) as opened:
            mode = "L" if source.channels == "grey" else "RGB"
            pixels = np.asarray(opened.convert(mode).resize((source.size, source.size)), dtype=np.uint8)
    except (UnidentifiedImageError, OSError) as error:
        raise PlatformError(f"{origin}: not an image that can be read: {error}") from None
    return np.moveaxis(pixels.reshape(source.size, source.size, -1), -1, 0).tobytes()


def _json_rows(content: bytes, path: str) -> Iterator[tuple[dict[str, Any], str]]:
    for number, line in enumerate(content.decode("utf-8", "replace").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise PlatformError(f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise PlatformError(f"{path}:{number}: expected a JSON object, got a {type(row).__name__}")
        yield row, f"{path}:{number}"


def _csv_rows(content: bytes, path: str, source: Csv) -> Iterator[tuple[dict[str, Any], str]]:
    lines = io.StringIO(content.decode("utf-8-sig", "replace"), newline="")
    plain: Literal[0, 3] = csv.QUOTE_MINIMAL if source.quotes else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=source.delimiter, quoting=plain)
    columns = list(source.columns) if source.columns is not None else next(reader, [])
    for values in reader:
        if not values:
            continue
        origin = f"{path}:{reader.line_num}"
        if len(values) != len(columns):
            raise PlatformError(
                f"{origin}: {len(values)} fields where {len(columns)} are named ({', '.join(columns)}); "
                "look at source.delimiter, source.columns and source.quotes"
            )
        yield dict(zip(columns, values, strict=True)), origin


def _find(source: Source, place: str) -> tuple[pafs.FileSystem, list[str]]:
    if place == STDLIB:
        root = Path(sysconfig.get_paths()["stdlib"])
        found = (p for p in root.rglob("*.py") if not set(p.relative_to(root).parts) & set(NOT_WRITTEN_BY_HAND))
        return pafs.LocalFileSystem(), sorted(map(str, found))
    open_place: Callable[[str], tuple[pafs.FileSystem, str]] = pafs.FileSystem.from_uri if "://" in place else _local
    fs, path = open_place(place)
    return fs, _matching(fs, path, pattern_below(source))


def _local(place: str) -> tuple[pafs.FileSystem, str]:
    return pafs.LocalFileSystem(), str(Path(place).resolve())


def _matching(fs: pafs.FileSystem, path: str, suffix: str) -> list[str]:
    info = fs.get_file_info(path)
    if info.type == pafs.FileType.File:
        return [path]
    pattern = path if any(sign in path for sign in "*?[") else f"{path}/**/{suffix}"
    folder = re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]
    listed = fs.get_file_info(pafs.FileSelector(folder, recursive=True, allow_not_found=True))
    wanted = glob_pattern(pattern)
    return sorted(i.path for i in listed if i.type == pafs.FileType.File and wanted.fullmatch(i.path))


def glob_pattern(pattern: str) -> re.Pattern[str]:
    """A shell pattern as a regular expression: `*` stays within a folder, `**/` is any number of folders."""
    words = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]*\])", pattern)
    return re.compile("".join(words.get(p, p if p.startswith("[") else re.escape(p)) for p in pieces))
