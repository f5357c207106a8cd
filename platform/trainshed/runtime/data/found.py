"""The files of a source: found by the same rule as on the laptop, fingerprinted by what they hold."""

from __future__ import annotations

import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.fs as pafs

from trainshed.errors import PlatformError, UsageError
from trainshed.record.finding import find
from trainshed.record.hashes import sha256_of
from trainshed.spec.data.matching import Chosen
from trainshed.spec.data.sources import STDLIB, Images, Source, places

NOT_WRITTEN_BY_HAND = ("site-packages", "test", "tests", "idle_test", "encodings", "pydoc_data", "__pycache__")
"""Folders of the library that hold other people's packages, tests, or generated tables."""

HASH_THREADS = 8
SPLIT_OF = {"path": "", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class Found:
    """The files of a source, sorted place by place, and what is known of each before it is read."""

    fs: pafs.FileSystem
    splits: dict[str, str]
    """The split that each file belongs to; "" where the job's own rule decides."""
    classes: dict[str, str] = field(default_factory=dict)
    """The class of each image."""
    holds: dict[str, str] = field(default_factory=dict)
    """What each place holds and what of it is left out, by the key that names it, in words."""

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
    classes: dict[str, str] = {}
    holds: dict[str, str] = {}
    for number, (key, place) in enumerate(places(source).items()):
        found_on, chosen = _find(source, key, place)
        if not chosen.files:
            beside = f"; it holds {chosen}" if chosen.left_out else ""
            raise PlatformError(f"source.{key}: no file matches {place!r} on the cluster{beside}")
        if number and not fs.equals(found_on):
            raise PlatformError(
                f"source.{key}: {place!r} lies on another file system than source.path; put them on one"
            )
        fs = found_on
        splits |= {file: SPLIT_OF[key] for file in chosen.files if file not in splits or SPLIT_OF[key]}
        classes |= {file: chosen.class_of(file) for file in chosen.files if isinstance(source, Images)}
        holds[key] = str(chosen)
    return Found(fs, splits, classes, holds)


def hash_files(found: Found) -> list[str]:
    """SHA-256 of each file's content, in order; what "unchanged" means for a second run."""

    def one(path: str) -> str:
        try:
            return sha256_of(found.fs, path)
        except OSError as error:
            raise PlatformError(f"{path}: cannot be read: {error}") from None

    with ThreadPoolExecutor(HASH_THREADS) as pool:
        return list(pool.map(one, found.files))


def _find(source: Source, key: str, place: str) -> tuple[pafs.FileSystem, Chosen]:
    if place == STDLIB:
        root = Path(sysconfig.get_paths()["stdlib"])
        found = (p for p in root.rglob("*.py") if not set(p.relative_to(root).parts) & set(NOT_WRITTEN_BY_HAND))
        return pafs.LocalFileSystem(), Chosen(tuple(sorted(map(str, found))))
    try:
        return find(source, place)
    except (UsageError, OSError) as error:
        raise PlatformError(f"source.{key}: {error}") from None
