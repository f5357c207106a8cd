"""Prepared samples on disk, written by `data` and read by `training`: packed blocks, or labelled examples."""

from __future__ import annotations

from pathlib import Path

from trainshed.record.data_manifest import DataManifest, SamplesFacts
from trainshed.runtime.shards.blocks import Blocks, BlockWriter, entropy
from trainshed.runtime.shards.examples import Examples, ExampleWriter
from trainshed.runtime.shards.intact import check_files, damaged

__all__ = [
    "BlockWriter",
    "Blocks",
    "ExampleWriter",
    "Examples",
    "damaged",
    "entropy",
    "open_data",
    "open_split",
]


def open_data(folder: Path, manifest: DataManifest) -> list[Blocks | Examples]:
    """The samples of every split, in the manifest's order, once their files have been compared with it.

    Raises:
        PlatformError: a file is missing or damaged.
    """
    check_files(folder, manifest)
    return [open_split(folder, manifest, split) for split in manifest.splits]


def open_split(folder: Path, samples: SamplesFacts, split: str) -> Blocks | Examples:
    """The samples of one split, whichever form the data has."""
    reader = Examples if samples.form == "examples" else Blocks
    return reader(folder, samples, split)
