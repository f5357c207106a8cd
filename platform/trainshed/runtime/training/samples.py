"""What can be known of a training and its data before workers start."""

from __future__ import annotations

from trainshed.errors import PlatformError
from trainshed.record.data_form import form_of_manifest
from trainshed.record.data_manifest import DataManifest
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
