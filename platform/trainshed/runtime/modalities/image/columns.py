"""Images as columns: as a sample has them while data is prepared, and as pixels in a shard."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

IN_SAMPLES = {"image": pa.binary(), "done": pa.string()}
"""Pixels of shape `(channels, size, size)` as bytes, and what was done to them beside resizing, as JSON."""


def shard_field(size: int, channels: int) -> pa.Field:
    """The column of a shard."""
    return pa.field("pixels", pa.list_(pa.uint8(), size**2 * channels))


def pixels(images: pa.ChunkedArray, field: pa.Field) -> pa.FixedSizeListArray:
    """The images of samples as a column of a shard."""
    values = pa.array(np.frombuffer(b"".join(images.to_pylist()), dtype=np.uint8))
    return pa.FixedSizeListArray.from_arrays(values, field.type.list_size)
