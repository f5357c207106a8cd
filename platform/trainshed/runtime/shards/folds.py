"""Cross-validation: one of k parts of the training samples is held out, the others are learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class Numbered(Protocol):
    """Samples that can be taken by number."""

    def __len__(self) -> int: ...

    def take(self, ids: np.ndarray[Any, Any]) -> dict[str, Any]:
        """The rows of these samples."""


@dataclass(frozen=True)
class Subset:
    """Some of the samples, numbered anew from 0."""

    samples: Numbered
    ids: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, ids: np.ndarray[Any, Any]) -> dict[str, Any]:
        """The rows of these samples."""
        return self.samples.take(self.ids[np.asarray(ids)])


def split_off(samples: Numbered, *, fold: int, folds: int, seed: int) -> tuple[Subset, Subset]:
    """What is learnt from, and fold number `fold` of `folds`, which is held out. Every sample is in one fold.

    Which samples make a fold hangs on their number and the seed alone; folds differ by one sample at most.
    """
    shuffled = np.random.default_rng([seed, folds]).permutation(len(samples))
    held_out = np.zeros(len(samples), dtype=bool)
    held_out[shuffled[fold::folds]] = True
    return Subset(samples, np.flatnonzero(~held_out)), Subset(samples, np.flatnonzero(held_out))
