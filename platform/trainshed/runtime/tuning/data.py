"""Which prepared data the trials of a sweep read: bound once, when the sweep begins, and compared.

`data.json` in the sweep's Record says which run each reference means: a sweep that goes on reads what it has read,
also where a newer run of that name was made meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trainshed.errors import PlatformError
from trainshed.record.run import Record
from trainshed.runtime.training.samples import check_samples
from trainshed.spec.held_out import difference
from trainshed.spec.part import RunRef
from trainshed.spec.tune import TuneJob

FILE = "data.json"


def bound(job: TuneJob, record: Record, find: Callable[[str], Record]) -> dict[str, Record]:
    """The run of each data set of the sweep, by reference; `find` answers a reference for the first time.

    Raises:
        PlatformError: a run is not there any more, or trials over these data sets would not compare.
    """
    known = _known(record)
    runs = {reference: known.get(reference) or find(reference) for reference in job.data_sets}
    manifests = {reference: manifest_of(run) for reference, run in runs.items()}
    for reference, manifest in manifests.items():
        check_samples(job.train.model_copy(update={"data": reference}), manifest)
    if len(manifests) > 1 and (said := difference(manifests)):
        raise PlatformError(f"space.data: {said}")
    record.storage.write_json(record.at(FILE), {reference: f"run://{run.run_id}" for reference, run in runs.items()})
    return runs


def _known(record: Record) -> dict[str, Record]:
    """What an earlier driver has bound."""
    found = record.storage.read_json(record.at(FILE)) or {}
    try:
        references = TypeAdapter(dict[RunRef, RunRef]).validate_python(found)
    except ValidationError:
        raise PlatformError(f"{record.storage.address(record.at(FILE))}: not a list of runs by reference") from None
    return {name: Record(record.storage, run.removeprefix("run://")) for name, run in references.items()}


def manifest_of(run: Record) -> dict[str, Any]:
    """What the prepare run made.

    Raises:
        PlatformError: the run has made nothing, or is gone.
    """
    result = run.result
    if result is None or "manifest" not in result:
        raise PlatformError(f"run://{run.run_id}: its data is not there any more")
    return dict(result["manifest"])


def folders(runs: Mapping[str, Record]) -> dict[str, str]:
    """Where the data of each reference lies, relative to the storage."""
    return {reference: str((run.result or {})["data"]) for reference, run in runs.items()}
