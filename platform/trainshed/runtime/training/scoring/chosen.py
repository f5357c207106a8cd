"""The samples of a split that are evaluated: the first so many, with labels by the numbers that the model has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainshed.errors import PlatformError
from trainshed.runtime.tasks import Samples
from trainshed.spec.evaluation.labels import label_numbers

Array = np.ndarray[Any, Any]


class Chosen:
    """See `trainshed.runtime.tasks.Samples`."""

    def __init__(self, samples: Samples, count: int, numbers: Array | None = None, *, labels: int = 0) -> None:
        """`numbers` are the model's for each label of the data, None where it has none; it knows `labels` of them."""
        self._samples = samples
        self._count = min(count, len(samples))
        self._numbers = numbers
        self._labels = labels

    def __len__(self) -> int:
        return self._count

    def take(self, ids: Array) -> dict[str, Any]:
        """The columns of the samples with these numbers."""
        taken = self._samples.take(ids)
        if self._numbers is None or "label" not in taken:
            return taken
        label = taken["label"]
        if label.ndim == 1:
            return {**taken, "label": self._numbers[label]}
        several = np.zeros((len(label), self._labels), dtype=label.dtype)
        several[:, self._numbers] = label
        return {**taken, "label": several}


def numbers_of(data: Sequence[str], model: Sequence[str]) -> Array:
    """The model's number of each label of the data.

    Raises:
        PlatformError: the model does not know one.
    """
    try:
        return np.array(label_numbers(data, model), dtype=np.int64)
    except ValueError as error:
        raise PlatformError(f"data: {error}") from None
