"""What a model has learnt from, as far as our own runs tell, and how much of the evaluated samples stands in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from trainshed.errors import PlatformError, UsageError
from trainshed.record.built_on import prepared
from trainshed.record.evaluation import OverlapFacts
from trainshed.record.results import InitOrigin, PrepareResult, WeightsOrigin
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.runtime.evaluation.leakage import Array, overlap
from trainshed.runtime.scratch import scratch
from trainshed.runtime.shards import Blocks, Examples, open_split
from trainshed.runtime.shards.intact import check_files

AT_ONCE = 1024
"""Samples that are read at a time."""


def training_data(run: Record) -> tuple[list[Record], tuple[str, ...]]:
    """The prepare runs that a training read, its beginnings' too, the newest first; and what cannot be compared."""
    found: dict[str, Record] = {}
    remarks = []
    behind: Record | None = run
    passed: set[str] = set()
    while behind is not None and behind.run_id not in passed:
        passed.add(behind.run_id)
        lineage = behind.lineage
        data = None if lineage is None or lineage.data is None else lineage.data.run_id
        if data is None:
            remarks.append(f"leakage: {behind.run_id} does not say what it was trained on")
        elif _is_there(Record(run.storage, data)):
            found.setdefault(data, Record(run.storage, data))
        else:
            remarks.append(f"leakage: the data {data} of {behind.run_id} is not there any more")
        behind = _before(behind)
    return list(found.values()), tuple(remarks)


def overlap_with(
    runs: Sequence[Record], data: PrepareResult, split: str, samples: int, *, storage: Storage, ngram: int
) -> OverlapFacts:
    """Compares the first so many samples of a split with the training splits of these runs."""
    with ExitStack() as held:
        own = _opened(held, storage, data, split)
        learnt = [_opened(held, storage, prepared(run), "train") for run in runs]
        found = overlap(
            _ids(own, samples),
            lambda: (some for one in learnt for some in _ids(one, len(one))),
            ngram=ngram,
        )
    return OverlapFacts(
        ngram=ngram,
        training_data=runs[0].run_id,
        samples=found.samples,
        overlapping=found.overlapping,
        share=found.share,
        run_share=found.run_share,
    )


def _before(run: Record) -> Record | None:
    """The run whose model or checkpoint a training began with; None where that is nothing of ours."""
    lineage = run.lineage
    match None if lineage is None else lineage.weights:
        case WeightsOrigin(run_id=before) | InitOrigin(run_id=before):
            there = Record(run.storage, before)
            return there if run.storage.exists(there.at("job.json")) else None
        case _:
            return None


def _is_there(run: Record) -> bool:
    try:
        return run.storage.exists(f"{prepared(run).data}/manifest.json")
    except (UsageError, PlatformError):
        return False


def _opened(held: ExitStack, storage: Storage, made: PrepareResult, split: str) -> Blocks | Examples:
    """A split of data, once its files were compared with their hashes."""
    copy = held.enter_context(scratch("data"))
    folder = storage.download(made.data, copy)
    check_files(folder, made.manifest)
    return open_split(folder, made.manifest, split)


def _ids(samples: Blocks | Examples, count: int) -> Iterator[list[Array]]:
    for start in range(0, count, AT_ONCE):
        rows = samples.take(np.arange(start, min(start + AT_ONCE, count)))
        yield [_ids_of(rows, row) for row in range(min(AT_ONCE, count - start))]


def _ids_of(rows: dict[str, Any], row: int) -> Array:
    """A sample as numbers: the tokens of its text and target, or one number for an image, which is one run."""
    if "pixels" in rows:
        digest = hashlib.blake2b(np.ascontiguousarray(rows["pixels"][row]).tobytes(), digest_size=8).digest()
        return np.frombuffer(digest, dtype=np.uint64)
    parts = [rows[name][row] for name in ("tokens", "target") if name in rows]
    return np.concatenate(parts)
