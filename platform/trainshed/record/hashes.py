"""SHA-256 of files, on any file system: the proof that something is byte for byte what was written."""

from __future__ import annotations

import hashlib
from typing import Any

READ_BYTES = 1 << 22


def sha256_of(fs: Any, path: str) -> str:
    """Hex SHA-256 of a file of a pyarrow file system, read in pieces.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    digest = hashlib.sha256()
    with fs.open_input_stream(path) as stream:
        while chunk := stream.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
