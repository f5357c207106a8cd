"""SHA-256 of files, on any file system: the proof that something is byte for byte what was written."""

from __future__ import annotations

import hashlib
from typing import Any, BinaryIO

READ_BYTES = 1 << 22


def sha256_of(fs: Any, path: str, *, copy: BinaryIO | None = None) -> str:
    """Hex SHA-256 of a file of a pyarrow file system, read in pieces; what was hashed goes into `copy` too.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    digest = hashlib.sha256()
    with fs.open_input_stream(path, compression=None) as stream:  # pyarrow unpacks by the name's end otherwise
        while chunk := stream.read(READ_BYTES):
            digest.update(chunk)
            if copy is not None:
                copy.write(chunk)
    return digest.hexdigest()
