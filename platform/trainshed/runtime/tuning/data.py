"""Which prepared data the trials of a sweep read: bound once, when the sweep begins, and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trainshed.errors import PlatformError
from trainshed.record.bound import bind, runs_of
from trainshed.record.built_on import prepared
from trainshed.record.data_form import measured_on
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
    manifests = {reference: prepared(run).manifest for reference, run in runs.items()}
    for reference, manifest in manifests.items():
        check_samples(job.train.model_copy(update={"data": reference}), manifest)
    measured = {reference: measured_on(manifest) for reference, manifest in manifests.items()}
    if len(measured) > 1 and (said := difference(measured)):
        raise PlatformError(f"space.data: {said}")
    bind(sweep, runs)
    return runs


def folders(runs: Mapping[str, Record]) -> dict[str, str]:
    """Where the data of each reference lies, relative to the storage."""
    return {reference: prepared(run).data for reference, run in runs.items()}
