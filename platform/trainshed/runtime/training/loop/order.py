"""The global sequence of samples: a pure function of seed, epoch and step, whatever the number of workers.

Knows nothing of data or workers. Any step is found at once, so resuming in mid-epoch costs one permutation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Ids = np.ndarray[Any, np.dtype[np.int64]]


@dataclass
class Order:
    """Which samples each optimizer step sees. An epoch is a permutation; a rest under one batch is left to the next."""

    samples: int
    global_batch_size: int
    seed: int
    _epoch: int = field(default=-1, init=False)
    _permutation: Ids = field(default_factory=lambda: np.zeros(0, dtype=np.int64), init=False)

    def __post_init__(self) -> None:
        if self.samples < self.global_batch_size:
            raise ValueError(f"global_batch_size {self.global_batch_size} is over the {self.samples} samples there are")

    @property
    def steps_per_epoch(self) -> int:
        """Whole global batches in one pass over the samples."""
        return self.samples // self.global_batch_size

    def batch(self, number: int) -> Ids:
        """Sample numbers of global batch `number` (0-based), shape `(global_batch_size,)`."""
        epoch, inner = divmod(number, self.steps_per_epoch)
        if epoch != self._epoch:
            self._permutation = np.random.default_rng([self.seed, epoch]).permutation(self.samples)
            self._epoch = epoch
        return self._permutation[inner * self.global_batch_size : (inner + 1) * self.global_batch_size]


def batch_number(step: int, left_out: Sequence[int]) -> int:
    """The global batch that optimizer step `step` sees, where the batches `left_out` are passed over."""
    number = step
    for skipped in sorted(left_out):
        if skipped <= number:
            number += 1
    return number


def chained_hash(before: str, ids: Ids) -> str:
    """16 hex digits over the sample numbers of a step and of all steps before it: equal hashes, equal sequences."""
    return hashlib.blake2b(bytes.fromhex(before) + np.ascontiguousarray(ids).tobytes(), digest_size=8).hexdigest()


def share(ids: Ids, *, worker: int, workers: int, per_device: int) -> list[Ids]:
    """One worker's passes over a global batch: `(per_device,)` sample numbers for each pass.

    The passes of all workers together are the batch, each sample once.
    """
    passes = len(ids) // (workers * per_device)
    return [ids.reshape(passes, workers, per_device)[number, worker] for number in range(passes)]
