"""Bytes and JSON under one root on any pyarrow file system; a file is there whole or not at all.

Knows nothing of runs. On a local disk a write is a temporary file, fsync and rename; on an object store an upload
becomes visible when it is complete. Creating a name exclusively is atomic on a local disk; an object store only checks
first, so two registrations in the same instant may collide there.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from trainshed.errors import DamagedFile, UsageError

log = logging.getLogger("trainshed.record")


@dataclass(frozen=True)
class Storage:
    """A root folder (`/path`, `s3://bucket/prefix`, `gs://...`) and what lies under it, by relative path."""

    uri: str
    fs: pafs.FileSystem
    root: str

    @staticmethod
    def open(uri: str | Path) -> Storage:
        """The storage at a local path or URI.

        Raises:
            UsageError: the address is of no file system that pyarrow knows.
        """
        text = str(uri)
        if any("\ud800" <= character <= "\udfff" for character in text):  # bytes of the environment that are no UTF-8
            raise UsageError(f"PLATFORM_STORAGE: {os.fsencode(text)!r} is no UTF-8; give another folder")
        if "://" not in text:
            try:
                text = str(Path(text).expanduser().resolve())
            except RuntimeError as error:  # a loop of links, or a user that does not exist
                raise UsageError(f"PLATFORM_STORAGE: {text}: {error}; give another folder") from None
            return Storage(text, pafs.LocalFileSystem(), text)
        try:
            fs, root = pafs.FileSystem.from_uri(text)
        except (ValueError, OSError) as error:
            raise UsageError(f"PLATFORM_STORAGE: {text}: {error}; give a folder or an s3:// or gs:// address") from None
        return Storage(root if isinstance(fs, pafs.LocalFileSystem) else text, fs, root)

    @property
    def is_local(self) -> bool:
        """Whether the files are on this machine's disk."""
        return isinstance(self.fs, pafs.LocalFileSystem)

    def path(self, relative: str) -> str:
        """The path on `fs` of something under the root.

        Raises:
            DamagedFile: it would lie elsewhere; what storage holds has named it.
        """
        if "\0" in relative or ".." in relative.split("/"):
            raise DamagedFile(f"{self.uri}: {relative!r} would lie outside of the storage")
        return f"{self.root}/{relative}" if relative else self.root

    def address(self, relative: str) -> str:
        """The path or URI of something under the root, as another process would open it."""
        return f"{self.uri}/{relative}"

    def exists(self, relative: str) -> bool:
        """Whether a file or folder is there."""
        return bool(self.fs.get_file_info(self.path(relative)).type != pafs.FileType.NotFound)

    def size(self, relative: str) -> int:
        """Bytes of a file; 0 where there is none."""
        return int(self.fs.get_file_info(self.path(relative)).size or 0)

    def read_end(self, relative: str, length: int) -> bytes:
        """The last bytes of a file, so many at most. Raises FileNotFoundError."""
        with self.fs.open_input_file(self.path(relative)) as file:
            file.seek(max(0, file.size() - length))
            return bytes(file.read())

    def read_part(self, relative: str, start: int, length: int) -> bytes:
        """So many bytes of a file at most, from a place on; empty where it is shorter. Raises FileNotFoundError."""
        with self.fs.open_input_file(self.path(relative)) as file:
            file.seek(min(start, file.size()))
            return bytes(file.read(length))

    def names(self, relative: str) -> list[str]:
        """Sorted names of the files and folders in a folder; empty where the folder is not there.

        A name that is no UTF-8 is not of the platform's making: it is left out.
        """
        try:
            if self.is_local:
                found = os.listdir(self.path(relative))
            else:
                selector = pafs.FileSelector(self.path(relative), allow_not_found=True)
                found = [info.base_name for info in self.fs.get_file_info(selector)]
        except FileNotFoundError:
            return []
        foreign = [name for name in found if not _is_text(name)]
        for name in foreign:
            log.warning("%s: %r is no UTF-8; it is passed over", self.address(relative), os.fsencode(name))
        return sorted(name for name in found if name not in foreign and not name.startswith(".tmp-"))

    def read(self, relative: str) -> bytes:
        """A whole file. Raises FileNotFoundError."""
        with self.fs.open_input_stream(self.path(relative)) as stream:
            return bytes(stream.read())

    def read_json(self, relative: str) -> Any:
        """A JSON file, or None where it is not there.

        Raises:
            DamagedFile: what is there is no JSON, or is nothing that this machine can read.
        """
        try:
            value = json.loads(self.read(relative))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, RecursionError) as error:
            raise DamagedFile(f"{self.address(relative)}: not JSON: {_first_line(error)}") from None
        except OSError as error:  # of an object store it may pass; on a disk it is a folder, a mode, a bad sector
            if not self.is_local and self.fs.get_file_info(self.path(relative)).type != pafs.FileType.Directory:
                raise
            raise DamagedFile(f"{self.address(relative)}: cannot be read: {_first_line(error)}") from None
        if value is None:
            raise DamagedFile(f"{self.address(relative)}: holds null")
        return value

    def write(self, relative: str, content: bytes) -> None:
        """Writes a whole file; a reader sees the old content or the new."""
        target = self._make_parent(relative)
        if not self.is_local:
            with self.fs.open_output_stream(target) as stream:
                stream.write(content)
            return
        os.replace(_written_aside(target, content), target)

    def write_json(self, relative: str, value: Any) -> None:
        """Writes JSON, indented, as `write` does."""
        self.write(relative, (json.dumps(value, indent=2) + "\n").encode())

    def create(self, relative: str, content: bytes) -> bool:
        """Writes a file only if there is none of that name; False where there is one."""
        target = self._make_parent(relative)
        if not self.is_local:
            if self.exists(relative):
                return False
            self.write(relative, content)
            return True
        aside = _written_aside(target, content)
        try:
            os.link(aside, target)
        except FileExistsError:
            return False
        finally:
            os.unlink(aside)
        return True

    def upload(self, folder: Path, relative: str) -> None:
        """Copies a local folder here; the caller makes it visible by what it writes last."""
        self.fs.create_dir(self.path(relative), recursive=True)
        pafs.copy_files(
            str(folder), self.path(relative), source_filesystem=pafs.LocalFileSystem(), destination_filesystem=self.fs
        )

    def download(self, relative: str, folder: Path) -> Path:
        """A local folder with the same content: the folder itself where storage is local."""
        if self.is_local:
            return Path(self.path(relative))
        folder.mkdir(parents=True, exist_ok=True)
        pafs.copy_files(
            self.path(relative), str(folder), source_filesystem=self.fs, destination_filesystem=pafs.LocalFileSystem()
        )
        return folder

    def delete(self, relative: str) -> None:
        """Removes a folder or file, if it is there."""
        kind = self.fs.get_file_info(self.path(relative)).type
        if kind == pafs.FileType.Directory:
            self.fs.delete_dir(self.path(relative))
        elif kind == pafs.FileType.File:
            self.fs.delete_file(self.path(relative))

    def _make_parent(self, relative: str) -> str:
        target = self.path(relative)
        self.fs.create_dir(os.path.dirname(target), recursive=True)
        return target


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _written_aside(target: str, content: bytes) -> str:
    aside = os.path.join(os.path.dirname(target), f".tmp-{secrets.token_hex(8)}")
    with open(aside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return aside
