"""Temporary folders that do not outlive a killed process: whoever next makes one on the machine removes them.

A worker that gets SIGKILL cannot tidy up, and on remote storage its copy of the data is gigabytes. Each folder is
locked for as long as its process lives (flock(2): the kernel lets go of it, also across containers that share a disk).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "trainshed-scratch-"


@contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """An empty folder in the machine's temp directory, gone when the `with` ends; `purpose` is part of its name."""
    folder, lock = _make(purpose)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def scratch_of_process(purpose: str) -> Path:
    """The same for as long as the process lives; it is removed when the next one is made on the machine."""
    return _make(purpose)[0]


def _make(purpose: str) -> tuple[Path, int]:
    root = Path(tempfile.gettempdir())
    for found in root.glob(f"{PREFIX}*"):
        _remove_left(found)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{purpose}-"))
        with contextlib.suppress(FileNotFoundError):  # another has taken it for one that was left
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _remove_left(folder: Path) -> None:
    """Removes a folder whose process is gone; one that lives, or is another user's, is left alone."""
    with contextlib.suppress(OSError):
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
