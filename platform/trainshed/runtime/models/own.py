"""One of our own models as a folder on this machine, byte for byte what was exported, for a training to begin with.

Knows exports and their hashes; loads nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trainshed.errors import PlatformError
from trainshed.record.facts import parse_facts
from trainshed.record.results import WeightsOrigin
from trainshed.record.storage import Storage
from trainshed.runtime.models.files import files_of_export
from trainshed.runtime.scratch import scratch
from trainshed.spec.training.train import Training


@contextmanager
def with_own_weights(training: Training, weights: Mapping[str, Any], storage: Storage) -> Iterator[Training]:
    """Inside, the model that a training begins with is a private copy, hashed while it was written.

    A training that begins with no model of ours is left as it is. `weights` are `WeightsOrigin`s as JSON, by reference.

    Raises:
        PlatformError: a file is missing, or is not the one that was exported.
    """
    reference = training.weights
    if reference is None:
        yield training
        return
    if reference not in weights:
        raise PlatformError(f"model.name_or_path: nothing says which model {reference} means")
    origin = parse_facts(weights[reference], WeightsOrigin, reference)
    with scratch("weights") as copy:
        files_of_export(storage, origin).copy_to(copy)
        here = training.model.model_copy(update={"name_or_path": str(copy)})
        yield training.model_copy(update={"model": here})
