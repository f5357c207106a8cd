"""Which prepared data the trials of a sweep read: bound once, when the sweep begins, and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trainshed.errors import PlatformError
from trainshed.record.bound import bind, prepared, runs_of
from trainshed.record.run import Record
from trainshed.runtime.training.samples import check_samples
from trainshed.spec.sweep.held_out import difference
from trainshed.spec.sweep.tune import TuneJob


def bound(job: TuneJob, sweep: Record, find: Callable[[str], Record]) -> dict[str, Record]:
    """The run of each data set of the sweep, by reference; `find` answers a reference for the first time.

    Raises:
        PlatformError: a run is not there any more, or trials over these data sets would not compare.
    """
    runs = runs_of(sweep, job.data_sets, find)
    manifests = {reference: _manifest(run) for reference, run in runs.items()}
    for reference, manifest in manifests.items():
        check_samples(job.train.model_copy(update={"data": reference}), manifest)
    if len(manifests) > 1 and (said := difference(manifests)):
        raise PlatformError(f"space.data: {said}")
    bind(sweep, runs)
    return runs


def folders(runs: Mapping[str, Record]) -> dict[str, str]:
    """Where the data of each reference lies, relative to the storage."""
    return {reference: prepared(run).data for reference, run in runs.items()}


def _manifest(run: Record) -> dict[str, Any]:
    return dict((run.result or {})["manifest"])
