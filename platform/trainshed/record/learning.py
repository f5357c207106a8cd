"""May a search learn from an earlier sweep? Its job and its data, as they stand in its Record, are compared."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from trainshed.record.bound import fingerprints
from trainshed.record.index import Index
from trainshed.record.run import Record
from trainshed.spec.load import job_from_data
from trainshed.spec.sweep.earlier_sweeps import unlike, unlike_data
from trainshed.spec.sweep.tune import TuneJob


def why_nothing_is_taken(job: TuneJob, here: Mapping[str, str] | None, sweep: Record, index: Index) -> str | None:
    """In one line; None where its figures say the same. `here` are fingerprints of the data that this sweep reads, by
    reference; None where it is not made yet, and only the jobs are compared. `index` tells which data the earlier one
    was on, where it wrote nothing down."""
    try:
        before = job_from_data(sweep.job["job"])
    except ValidationError:
        return "this version cannot read its job"
    if not isinstance(before, TuneJob):
        return f"it is a {before.kind} run"
    said = unlike(job, before)
    if said is not None or here is None:
        return said
    return unlike_data(job, here, before, fingerprints(sweep, before.data_sets, index))
