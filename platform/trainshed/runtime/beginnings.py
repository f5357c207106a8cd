"""What a training begins with that another one has left, as the driver finds it; `record.weights` writes it down.

A document of the same submission comes first, then what storage holds. Knows Records and the registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trainshed.record.index import Index, find_finished
from trainshed.record.registry import resolve
from trainshed.record.results import InitOrigin, Origin, WeightsOrigin
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.weights import of_checkpoint, of_run, of_version, weights_of
from trainshed.spec.job import run_name
from trainshed.spec.training.train import Training

Done = Mapping[str, Record]
"""The documents of this submission that have succeeded, by name."""


def beginnings_of(references: Iterable[str], training: Training, record: Record, done: Done) -> dict[str, Origin]:
    """The models or checkpoints of ours that a run begins with, and began with before.

    Raises:
        UsageError: one is not there.
    """
    find = find_weights if training.init_from is None else find_checkpoint
    return weights_of(record, references, lambda reference: find(reference, record.storage, done))


def find_weights(reference: str, storage: Storage, done: Done) -> WeightsOrigin:
    """What NAME@VERSION or run://NAME means now. Raises UsageError where that is nothing."""
    name = run_name(reference)
    if name is not None:
        return of_run(done.get(name) or find_finished(storage, reference, "train"))
    registered = reference.removesuffix("@latest")
    for run in reversed(tuple(done.values())):
        made = getattr(run.outcome, "registered", None)
        if made is not None and made.rpartition("@")[0] == registered:
            return of_version(resolve(storage, made))
    return of_version(resolve(storage, reference))


def find_checkpoint(reference: str, storage: Storage, done: Done) -> InitOrigin:
    """What run://NAME or run://NAME@STEP means now. Raises as `find_weights`."""
    name, _, step = reference.removeprefix("run://").partition("@")
    runs = [done[name]] if name in done else Index(storage).named(name, "train")
    return of_checkpoint(runs, int(step) if step else None, reference)
