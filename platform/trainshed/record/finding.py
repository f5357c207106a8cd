"""The files of a source on a disk or an object store: `spec.matching` decides, this tells it what lies there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.fs as pafs

from trainshed.errors import UsageError
from trainshed.spec.data.matching import Chosen, choose
from trainshed.spec.data.sources import Source


def find(source: Source, place: str) -> tuple[pafs.FileSystem, Chosen]:
    """The file system of a place and the files it stands for there; a relative place starts at the working directory.

    Raises:
        UsageError: the address is of no file system that pyarrow knows.
    """
    if "://" not in place:
        return pafs.LocalFileSystem(), choose(source, os.path.abspath(place), LocalDisk())
    try:
        fs, path = pafs.FileSystem.from_uri(place)
    except (ValueError, OSError) as error:
        raise UsageError(f"{place!r} cannot be opened: {error}") from None
    disk = LocalDisk() if isinstance(fs, pafs.LocalFileSystem) else StoreDisk(fs)
    return fs, choose(source, path.rstrip("/"), disk)


class LocalDisk:
    """A disk of this machine. Pipes and devices are no files; a link to a folder around it is not followed again."""

    def is_file(self, path: str) -> bool:
        """Whether a file is there by exactly this name."""
        return os.path.isfile(path)

    def is_folder(self, path: str) -> bool:
        """Whether a folder is there by exactly this name."""
        return os.path.isdir(path)

    def below(self, folder: str, *, deep: bool) -> Iterator[str]:
        """The files below a folder, as paths that start there."""
        yield from self._below(folder, "", deep, frozenset())

    def _below(self, folder: str, prefix: str, deep: bool, around: frozenset[tuple[int, int]]) -> Iterator[str]:
        try:
            own = os.stat(folder or "/")
            entries = sorted(os.scandir(folder or "/"), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        if (own.st_dev, own.st_ino) in around:
            return
        around |= {(own.st_dev, own.st_ino)}
        for entry in entries:
            if entry.is_file():
                yield f"{prefix}{entry.name}"
            elif deep and entry.is_dir():
                yield from self._below(f"{folder}/{entry.name}", f"{prefix}{entry.name}/", deep, around)


@dataclass(frozen=True)
class StoreDisk:
    """A bucket of an object store."""

    fs: pafs.FileSystem

    def is_file(self, path: str) -> bool:
        """Whether an object is there by exactly this name."""
        return bool(self.fs.get_file_info(path).type == pafs.FileType.File)

    def is_folder(self, path: str) -> bool:
        """Whether objects are there below exactly this name."""
        return bool(self.fs.get_file_info(path).type == pafs.FileType.Directory)

    def below(self, folder: str, *, deep: bool) -> Iterator[str]:
        """The objects below a folder, as paths that start there."""
        listed = self.fs.get_file_info(pafs.FileSelector(folder, recursive=deep, allow_not_found=True))
        for info in listed:
            if info.type == pafs.FileType.File:
                yield info.path[len(folder) + 1 :]
