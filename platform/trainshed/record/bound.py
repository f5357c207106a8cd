"""data.json of a sweep: which prepare run each of its references to data means, from its first trial to its last.

A sweep that goes on reads what it has read, also where a newer run of that name was made meanwhile; and a later one can
say whether it is on the same data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import TypeAdapter, ValidationError

from trainshed.errors import PlatformError, UsageError
from trainshed.record.run import Record, find_finished
from trainshed.spec.part import RunRef

FILE = "data.json"


def bind(sweep: Record, runs: Mapping[str, Record]) -> None:
    """Writes down the runs, by reference."""
    named = {reference: f"run://{run.run_id}" for reference, run in runs.items()}
    sweep.storage.write_json(sweep.at(FILE), named)


def bound_runs(sweep: Record) -> dict[str, Record]:
    """What `bind` wrote; empty where the sweep has not begun, or began under a version that wrote nothing.

    Raises:
        PlatformError: the file says something else.
    """
    found = sweep.storage.read_json(sweep.at(FILE)) or {}
    try:
        references = TypeAdapter(dict[RunRef, RunRef]).validate_python(found)
    except ValidationError:
        raise PlatformError(f"{sweep.storage.address(sweep.at(FILE))}: not a list of runs by reference") from None
    return {name: Record(sweep.storage, run.removeprefix("run://")) for name, run in references.items()}


def fingerprints(sweep: Record, references: Iterable[str]) -> dict[str, str]:
    """Of the data that a sweep read, by reference; what is not there any more is left out."""
    bound, found = bound_runs(sweep), {}
    for reference in references:
        try:
            run = bound.get(reference) or find_finished(sweep.storage, reference, "prepare")
        except UsageError:
            continue
        if (fingerprint := fingerprint_of(run)) is not None:
            found[reference] = fingerprint
    return found


def fingerprint_of(run: Record) -> str | None:
    """Of the data that a prepare run made; None where it made nothing."""
    found = ((run.result or {}).get("manifest") or {}).get("fingerprint")
    return None if found is None else str(found)
