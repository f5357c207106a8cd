"""What can be known of a training and its data before workers start."""

from __future__ import annotations

from trainshed.errors import PlatformError
from trainshed.record.data_form import form_of_manifest
from trainshed.record.data_manifest import DataManifest
from trainshed.record.results import PrepareResult, WeightsOrigin
from trainshed.record.storage import Storage
from trainshed.record.weights import Origins, has_tokenizer_of
from trainshed.spec.fitting import misfits
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


def check_weights(training: Training, weights: Origins, made: PrepareResult, storage: Storage) -> WeightsOrigin | None:
    """The model of ours that a training begins with; None where there is none.

    Raises:
        PlatformError: it is not there any more, or has another tokenizer than the data.
    """
    if training.weights is None:
        return None
    origin = weights[training.weights]
    if not has_tokenizer_of(storage, origin, made):
        raise PlatformError(
            f"model.name_or_path: {training.weights} has another tokenizer than the data {training.data}; prepare it "
            f"with `tokenizer: {{kind: pretrained, name_or_path: {storage.address(origin.model)}}}`"
        )
    return origin
