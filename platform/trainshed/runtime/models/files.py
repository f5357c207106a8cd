"""The files of an exported model, known by their hashes: what is loaded is what was hashed, byte for byte.

Knows storage and hashes; knows no model. A folder may change under a running endpoint, by a fault or by a stranger, so
a replica never loads from it: it loads from a private copy that was hashed while it was written, and that holds
nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from trainshed.errors import PlatformError
from trainshed.record.hashes import sha256_of
from trainshed.record.results import WeightsOrigin
from trainshed.record.storage import Storage

MANIFEST = "manifest.json"
WEIGHTS = ("model.safetensors", "adapter_model.safetensors")
_NAME = re.compile(r"[\w][\w.-]{0,199}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ModelFiles:
    """`hashes` says the SHA-256 of each file of the folder `place`, a path or URI."""

    place: str
    hashes: Mapping[str, str]

    @staticmethod
    def of(place: str, manifest: Any) -> ModelFiles:
        """The files that the manifest of an export lists.

        Raises:
            PlatformError: it is no manifest.
        """
        hashes = manifest.get("files") if isinstance(manifest, dict) else None
        if not isinstance(hashes, dict) or not hashes:
            raise PlatformError(f"{place}/manifest.json: names no files; train it again")
        for name, expected in hashes.items():
            if not _NAME.fullmatch(name) or not isinstance(expected, str) or not _HASH.fullmatch(expected):
                raise PlatformError(f"{place}/manifest.json: {name!r} is no file of a model with its hash")
        return ModelFiles(place, dict(hashes))

    def check(self) -> None:
        """Reads every file.

        Raises:
            PlatformError: one is missing, or is not the one that was exported.
        """
        for name in self.hashes:
            self._read(name, None)

    def copy_to(self, folder: Path) -> Path:
        """Copies every file into `folder` and hashes what it writes; returns the folder.

        Raises:
            PlatformError: one is missing, or is not the one that was exported.
        """
        for name in self.hashes:
            with (folder / name).open("wb") as copy:
                self._read(name, copy)
        return folder

    def _read(self, name: str, copy: BinaryIO | None) -> None:
        try:
            storage = Storage.open(self.place)
            if not storage.exists(""):
                raise PlatformError(f"{self.place}: no such directory on this node")
            found = sha256_of(storage.fs, storage.path(name), copy=copy)
        except OSError as error:
            raise PlatformError(f"{self.place}/{name}: cannot be read: {error}") from error
        if found != self.hashes[name]:
            raise PlatformError(f"{self.place}/{name}: not the file that was exported; train it again, or restore it")


def weights_sha256(hashes: Mapping[str, str]) -> str:
    """What stands for an export's weights: the hash of their file, or of all hashes where they are in several."""
    for name in WEIGHTS:
        if name in hashes:
            return hashes[name]
    return hashlib.sha256(json.dumps(dict(hashes)).encode()).hexdigest()


def files_of_export(storage: Storage, origin: WeightsOrigin) -> ModelFiles:
    """The files of one of our own models.

    Raises:
        PlatformError: its manifest is not there, is none, or is of other weights than those that were exported.
    """
    files = ModelFiles.of(storage.address(origin.model), storage.read_json(f"{origin.model}/{MANIFEST}"))
    if origin.model_sha256 is not None and weights_sha256(files.hashes) != origin.model_sha256:
        raise PlatformError(
            f"{files.place}/{MANIFEST}: names other weights than {origin.run_id} has exported; train it again, or "
            "restore it"
        )
    return files
