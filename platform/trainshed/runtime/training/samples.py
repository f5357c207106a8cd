"""What can be known of a training and its data before workers start."""

from __future__ import annotations

from trainshed.errors import PlatformError
from trainshed.record.data_form import form_of_manifest
from trainshed.record.data_manifest import DataManifest
from trainshed.record.results import Origin, PrepareResult
from trainshed.record.storage import Storage
from trainshed.record.weights import Origins, tokenizer_misfit
from trainshed.spec.fitting import misfits
from trainshed.spec.job import weights_key
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.train import Training


def check_samples(training: Training, manifest: DataManifest) -> None:
    """Compares the two.

    Raises:
        PlatformError: the training does not fit the data, or there is not one global batch of it.
    """
    for key, message in misfits(training, form_of_manifest(manifest)):
        raise PlatformError(f"{key}: {message}")
    samples = manifest.splits["train"].samples
    if samples < training.global_batch_size:
        raise PlatformError(
            f"the data has {samples} samples, less than one global_batch_size of {training.global_batch_size}; "
            "prepare more, or ask for a smaller batch"
        )


def check_beginning(training: Training, weights: Origins, made: PrepareResult, storage: Storage) -> Origin | None:
    """What another training has left and this one begins with; None where that is nothing.

    Raises:
        PlatformError: it is not there any more, or has another tokenizer than the data.
    """
    reference = training.begins_with
    if reference is None:
        return None
    origin = weights[reference]
    grows = isinstance(training.model, Pretrained) and training.model.added_tokens  # workers compare what there is more
    if not grows and (why := tokenizer_misfit(storage, origin, made, training.data)):
        raise PlatformError(f"{weights_key(training)}: {reference}: {why}")
    return origin
