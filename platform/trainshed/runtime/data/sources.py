"""Finding the files of a source and reading them as a Ray Dataset of documents `{"text": str, "origin": str}`."""

from __future__ import annotations

import hashlib
import json
import re
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import ray.data

from trainshed.errors import PlatformError
from trainshed.spec.prepare import JsonLines, Source, TextFiles

STDLIB = "python-stdlib"
NOT_WRITTEN_BY_HAND = ("site-packages", "test", "tests", "idle_test", "encodings", "pydoc_data", "__pycache__")
"""Folders of the library that hold other people's packages, tests, or generated tables."""

HASH_THREADS = 8


def find_files(source: Source) -> tuple[pafs.FileSystem, list[str]]:
    """The files a source means, sorted.

    Raises:
        PlatformError: nothing matches.
    """
    if source.path == STDLIB:
        root = Path(sysconfig.get_paths()["stdlib"])
        found = (p for p in root.rglob("*.py") if not set(p.relative_to(root).parts) & set(NOT_WRITTEN_BY_HAND))
        return pafs.LocalFileSystem(), sorted(map(str, found))
    fs, path = (
        (pafs.LocalFileSystem(), str(Path(source.path).resolve())) if "://" not in source.path else _from_uri(source)
    )
    suffix = "*.jsonl" if isinstance(source, JsonLines) else "*"
    files = _matching(fs, path, suffix)
    if not files:
        raise PlatformError(f"source.path: no file matches {source.path!r} on the cluster")
    return fs, files


def hash_files(fs: pafs.FileSystem, files: list[str]) -> list[str]:
    """SHA-256 of each file's content, in order; what "unchanged" means for a second run."""

    def one(path: str) -> str:
        digest = hashlib.sha256()
        with fs.open_input_stream(path) as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest()

    with ThreadPoolExecutor(HASH_THREADS) as pool:
        return list(pool.map(one, files))


def read(source: Source, fs: pafs.FileSystem, files: list[str]) -> ray.data.Dataset:
    """A dataset of documents in the order of the files."""
    raw = ray.data.read_binary_files(files, filesystem=fs, include_paths=True)
    match source:
        case TextFiles():
            return raw.map(_decode)
        case JsonLines(field=field):
            return raw.flat_map(_split_lines, fn_kwargs={"field": field})


def _decode(row: dict[str, Any]) -> dict[str, Any]:
    return {"text": row["bytes"].decode("utf-8", "replace"), "origin": row["path"]}


def _split_lines(row: dict[str, Any], field: str) -> list[dict[str, Any]]:
    documents = []
    for number, line in enumerate(row["bytes"].decode("utf-8", "replace").splitlines(), 1):
        if not line.strip():
            continue
        origin = f"{row['path']}:{number}"
        try:
            text = json.loads(line)[field]
        except (ValueError, KeyError, TypeError) as error:
            raise PlatformError(
                f"{origin}: expected a JSON object with {field!r}: {type(error).__name__}: {error}"
            ) from None
        documents.append({"text": str(text), "origin": origin})
    return documents


def _from_uri(source: Source) -> tuple[pafs.FileSystem, str]:
    fs, path = pafs.FileSystem.from_uri(source.path)
    return fs, path


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
