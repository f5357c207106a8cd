"""An exported model's outline on this machine: its config.json, and weights' files that end after their headers.

It is all that a plan and a check need of a model, a few kilobytes for any size and whatever storage it lies in.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from trainshed.errors import DamagedFile, UsageError
from trainshed.record.names import FILE_NAME, is_one
from trainshed.record.results import WeightsOrigin
from trainshed.record.storage import Storage
from trainshed.record.weights import exported_files
from trainshed.spec.training.models.folder import CONFIG, HEADER_LENGTH_BYTES, INDEX, MAX_JSON_BYTES


@dataclass(frozen=True)
class Outline:
    """A folder that looks like the model to whoever reads no weight; it is gone when nobody holds the outline."""

    held: tempfile.TemporaryDirectory[str]

    @property
    def folder(self) -> Path:
        """Where it lies on this machine."""
        return Path(self.held.name)


def outline_of(storage: Storage, origin: WeightsOrigin) -> Outline:
    """Reads the outline of an export.

    Raises:
        UsageError: the export is not there, or a file of it.
        DamagedFile: it has no manifest, or a file of weights that is none.
    """
    outline = Outline(tempfile.TemporaryDirectory(prefix="trainshed-outline-"))
    for name in exported_files(storage, origin):
        if not is_one(FILE_NAME, name):
            raise DamagedFile(f"{storage.address(origin.model)}/manifest.json: {name!r} is no file of a model")
        try:
            content = _outline_of_file(storage, f"{origin.model}/{name}")
        except OSError as error:
            raise UsageError(f"{storage.address(origin.model)}/{name}: cannot be read: {error}") from None
        if content is not None:
            (outline.folder / name).write_bytes(content)
    return outline


def _outline_of_file(storage: Storage, place: str) -> bytes | None:
    """As much of a file as a plan reads; None where that is nothing."""
    if place.rpartition("/")[2] in (CONFIG, INDEX):
        return storage.read(place)
    return _header(storage, place) if place.endswith(".safetensors") else None


def _header(storage: Storage, place: str) -> bytes:
    """The beginning of a file of weights, up to where the weights are."""
    with storage.fs.open_input_file(storage.path(place)) as stream:
        length = stream.read(HEADER_LENGTH_BYTES)
        size = int.from_bytes(length, "little")
        if not 0 < size <= MAX_JSON_BYTES:
            raise DamagedFile(f"{storage.address(place)}: no safetensors file: its header would have {size} bytes")
        return bytes(length + stream.read(size))
