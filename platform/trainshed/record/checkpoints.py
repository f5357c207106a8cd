"""Checkpoints of one training as files: complete or invisible, every byte under a hash.

    <folder>/checkpoints/step-0000300/   worker-00000-3f9a.safetensors  worker-00000-3f9a.json  ...  manifest.json

Each worker writes its part under a name that no earlier attempt used, then a note with the part's hash; manifest.json
is written last, whole, by worker 0. What has no manifest is not a checkpoint. Knows files and hashes; knows no tensor.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trainshed.errors import DamagedFile
from trainshed.record.facts import CheckpointFacts, passed_over, read_facts
from trainshed.record.hashes import sha256_of
from trainshed.record.storage import Storage

FOLDER = "checkpoints"
MANIFEST = "manifest.json"
METRIC = "validation_loss"
"""What the best checkpoint has the lowest of."""
STEP = re.compile(r"step-([0-9]{7,12})")


@dataclass(frozen=True)
class Checkpoint:
    """One complete checkpoint: where it lies, relative to the storage, and what its manifest says."""

    storage: Storage
    path: str
    manifest: CheckpointFacts

    @property
    def step(self) -> int:
        """Optimizer steps done when it was taken."""
        return self.manifest.step

    @property
    def files(self) -> list[str]:
        """The workers' parts, in the order of the workers."""
        return sorted(self.manifest.files)


def path_of(folder: str, step: int) -> str:
    """Where the checkpoint after `step` steps of the training in `folder` lies."""
    return f"{folder}/{FOLDER}/step-{step:07d}"


def part_name(worker: int, token: str) -> str:
    """The file of one worker's part; `token` differs for each attempt to save."""
    return f"worker-{worker:05d}-{token}.safetensors"


def all_checkpoints(storage: Storage, folder: str) -> list[Checkpoint]:
    """Every complete checkpoint of a training, newest first; hashes are not looked at.

    One whose manifest is damaged is none, and that is said.
    """
    found = []
    for name in storage.names(f"{folder}/{FOLDER}"):
        if STEP.fullmatch(name):
            try:
                found += _complete(storage, f"{folder}/{FOLDER}/{name}")
            except DamagedFile as error:
                passed_over(error)
    return sorted(found, key=lambda one: one.step, reverse=True)


def _complete(storage: Storage, path: str) -> list[Checkpoint]:
    """The checkpoint in a folder, or nothing; its files are those of its workers, and no others."""
    place = f"{path}/{MANIFEST}"
    manifest = read_facts(storage, place, CheckpointFacts)
    if manifest is None:
        return []
    if not path.endswith(f"/{path_of('', manifest.step).rpartition('/')[2]}"):
        raise DamagedFile(f"{storage.address(place)}: step: it is of step {manifest.step}")
    return [Checkpoint(storage, path, manifest)]


def fault_of(checkpoint: Checkpoint, file: str) -> str | None:
    """What is wrong with one file of a checkpoint, or None: it is byte for byte what was written."""
    storage = checkpoint.storage
    try:
        found = sha256_of(storage.fs, storage.path(f"{checkpoint.path}/{file}"))
    except OSError as error:
        return f"{checkpoint.path}/{file}: {error}"
    expected = checkpoint.manifest.files[file].sha256
    if found != expected:
        return f"{checkpoint.path}/{file}: its hash is {found[:16]}, the manifest says {expected[:16]}"
    return None


def kept(checkpoints: Sequence[Checkpoint], *, last: int, best: int, metric: str) -> set[int]:
    """Steps of the checkpoints to keep: the newest `last`, and of all the `best` with the lowest `metric`."""
    newest = sorted((one.step for one in checkpoints), reverse=True)[:last]
    return {*newest, *(one.step for one in by_loss(checkpoints, metric)[:best])}


def by_loss(checkpoints: Sequence[Checkpoint], metric: str) -> list[Checkpoint]:
    """The checkpoints at which `metric` was measured, the lowest first; of equal ones the newest."""
    measured = [(value, one) for one in checkpoints if (value := one.manifest.measured(metric)) is not None]
    return [one for _, one in sorted(measured, key=lambda pair: (pair[0], -pair[1].step))]


def prune(storage: Storage, folder: str, *, last: int, best: int, metric: str) -> list[int]:
    """Removes what is not kept, manifest first, and parts of attempts that never ended; the steps that went."""
    complete = all_checkpoints(storage, folder)
    keep = kept(complete, last=last, best=best, metric=metric)
    gone = []
    for one in complete:
        if one.step not in keep:
            storage.delete(f"{one.path}/{MANIFEST}")
            storage.delete(one.path)
            gone.append(one.step)
    newest = max((one.step for one in complete), default=-1)
    names = {path_of(folder, one.step).rsplit("/", 1)[-1] for one in complete}
    for name in storage.names(f"{folder}/{FOLDER}"):
        step = STEP.fullmatch(name)
        if step and name not in names and int(step[1]) < newest:
            storage.delete(f"{folder}/{FOLDER}/{name}")
    return gone
