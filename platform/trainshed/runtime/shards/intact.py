"""Are the files of prepared data byte for byte what was written? Compares them with the hashes of their manifest.

A training asks when it opens them, before its first step; prepare asks before it says that nothing is to be done. On a
local disk a file is read once for all workers of a machine: what has been compared is noted in the machine's temp
folder, under the file's identity (device, inode, size, times), so that a file that is touched is compared again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from trainshed.errors import PlatformError
from trainshed.record.data_manifest import DataManifest
from trainshed.record.hashes import sha256_of
from trainshed.record.storage import Storage

THREADS = 4
"""hashlib lets other threads run while it hashes."""
TOKENIZER = "tokenizer"
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def recorded(manifest: DataManifest) -> dict[str, str]:
    """Every file of prepared data by its path in the data's folder, and its SHA-256.

    Raises:
        PlatformError: a name that would leave the folder.
    """
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    files = {shard.file: shard.sha256 for shard in shards}
    files |= {f"{TOKENIZER}/{name}": digest for name, digest in manifest.tokenizer_files.items()}
    for name in files:
        if not PLAIN_NAME.fullmatch(name.removeprefix(f"{TOKENIZER}/")):
            raise PlatformError(f"the data's manifest names the file {name[:80]!r}, which is none of its own")
    return files


def damaged(storage: Storage, folder: str, manifest: DataManifest) -> dict[str, str]:
    """Files that are missing or other than the manifest says: the path in the folder, and what is wrong."""
    files = recorded(manifest)
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda one: _fault(storage, f"{folder}/{one[0]}", one[1]), files.items())
    return {name: fault for name, fault in zip(files, found, strict=True) if fault is not None}


def check_files(folder: Path, manifest: DataManifest) -> None:
    """The same of a folder on this machine, for a training.

    Raises:
        PlatformError: a file is missing or damaged; the message names it.
    """
    found = damaged(Storage.open(folder.parent), folder.name, manifest)
    if found:
        name, fault = min(found.items())
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise PlatformError(
            f"{folder / name}: {fault}{more}; run the prepare job again: it makes anew what is missing or damaged"
        )


def _fault(storage: Storage, relative: str, expected: str) -> str | None:
    path = storage.path(relative)
    try:
        if not storage.is_local:
            return _difference(sha256_of(storage.fs, path), expected)
        with _note(path, expected) as note:
            fault = None if note.read() else _difference(sha256_of(storage.fs, path), expected)
            if fault is None:
                note.write(b"intact\n")
            return fault
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def _difference(digest: str, expected: str) -> str | None:
    if digest == expected:
        return None
    return f"damaged: its hash is {digest[:16]}, the manifest says {expected[:16]}"


@contextlib.contextmanager
def _note(path: str, expected: str) -> Iterator[IO[bytes]]:
    """The note on this very file and hash, empty where they were not compared; held against other workers."""
    found = os.stat(path)
    identity = [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, expected]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    with open(_notes() / name, "a+b", opener=_private) as note:
        fcntl.flock(note, fcntl.LOCK_EX)  # until it is closed
        note.seek(0)
        yield note


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def _notes() -> Path:
    """The user's own folder of notes on verified files.

    Raises:
        PermissionError: another user has made a folder of that name, whose notes prove nothing.
    """
    folder = Path(tempfile.gettempdir()) / f"trainshed-intact-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.is_symlink():
        raise PermissionError(0, f"{folder} belongs to another user; remove it")
    return folder
