"""How much of the evaluated samples stood in the training set: runs of tokens that are in both, found by their hashes.

Memory is bounded: the evaluated runs are held as sorted 64-bit hashes, a part at a time, and the training set streams
past them. A run of different tokens has the same hash once in about 10^19, so a share is exact in practice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Samples = Iterable[Sequence[Array]]
"""Token ids of samples, some of them at a time."""

HELD_RUNS = 8_000_000
"""Hashes of evaluated runs that are held at a time: 64 MB, and as much again while they are sorted."""
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Overlap:
    """What of the evaluated samples was in the training set."""

    samples: int
    overlapping: int
    """Samples with at least one run that the training set has too."""
    runs: int
    """Runs of all samples, as often as they stand there."""
    overlapping_runs: int

    @property
    def share(self) -> float:
        """The share of samples that overlap."""
        return self.overlapping / self.samples if self.samples else 0.0

    @property
    def run_share(self) -> float:
        """The share of runs that overlap."""
        return self.overlapping_runs / self.runs if self.runs else 0.0

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(
            self.samples + other.samples,
            self.overlapping + other.overlapping,
            self.runs + other.runs,
            self.overlapping_runs + other.overlapping_runs,
        )


def overlap(evaluated: Samples, training: Callable[[], Samples], *, ngram: int, held_runs: int = HELD_RUNS) -> Overlap:
    """Compares all runs of `ngram` tokens; `training` begins to stream anew for each part of the evaluated samples."""
    found = Overlap(0, 0, 0, 0)
    held: list[Array] = []
    for some in evaluated:
        held += [runs_of(ids, ngram) for ids in some]
        if sum(map(len, held)) >= held_runs:
            found += _compared(held, training(), ngram)
            held = []
    return found + _compared(held, training(), ngram) if held else found


def runs_of(ids: Array, ngram: int) -> Array:
    """The hash of each run of `ngram` ids, uint64 `(runs,)`; a shorter sample is one run, an empty one has none."""
    count = len(ids)
    if count == 0:
        return np.zeros(0, dtype=np.uint64)
    mixed = _mixed(np.asarray(ids).astype(np.uint64))
    width = min(ngram, count)
    runs = np.full(count - width + 1, np.uint64(width), dtype=np.uint64)
    for offset in range(width):
        runs = _mixed(runs * MULTIPLIER + mixed[offset : count - width + 1 + offset])
    return runs


def _compared(held: list[Array], training: Samples, ngram: int) -> Overlap:
    """The overlap of samples whose runs are these."""
    known = np.unique(np.concatenate(held))
    seen = np.zeros(len(known), dtype=bool)
    for some in training:
        runs = np.concatenate([runs_of(ids, ngram) for ids in some])
        if len(known) and len(runs):
            places = np.searchsorted(known, runs).clip(max=len(known) - 1)
            seen[places[known[places] == runs]] = True
    hits = [seen[np.searchsorted(known, runs)] for runs in held]
    return Overlap(
        samples=len(held),
        overlapping=sum(bool(hit.any()) for hit in hits),
        runs=sum(map(len, hits)),
        overlapping_runs=sum(int(hit.sum()) for hit in hits),
    )


def _mixed(values: Array) -> Array:
    """Every bit of a number spread over all bits of another (the finalizer of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Array = values ^ (values >> np.uint64(31))
    return mixed
