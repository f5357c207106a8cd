"""data.json of a training or a sweep: which prepare run each of its references to data means, from first step to last.

What goes on reads what it has read, also where a newer run of that name was made meanwhile; and a later sweep can say
whether it is on the same data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pydantic import TypeAdapter, ValidationError

from trainshed.errors import PlatformError, UsageError
from trainshed.record.built_on import fingerprint_of, prepared
from trainshed.record.index import Index
from trainshed.record.run import Record
from trainshed.spec.document.part import RunRef

FILE = "data.json"


def bind(reader: Record, runs: Mapping[str, Record]) -> None:
    """Writes down the runs, by reference."""
    named = {reference: f"run://{run.run_id}" for reference, run in runs.items()}
    reader.storage.write_json(reader.at(FILE), named)


def bound_runs(reader: Record) -> dict[str, Record]:
    """What `bind` wrote; empty where the run has not begun, or began under a version that wrote nothing.

    Raises:
        PlatformError: the file says something else.
    """
    found = reader.storage.read_json(reader.at(FILE)) or {}
    try:
        references = TypeAdapter(dict[RunRef, RunRef]).validate_python(found)
    except ValidationError:
        raise PlatformError(f"{reader.storage.address(reader.at(FILE))}: not a list of runs by reference") from None
    return {name: Record(reader.storage, run.removeprefix("run://")) for name, run in references.items()}


def runs_of(reader: Record, references: Iterable[str], find: Callable[[str], Record]) -> dict[str, Record]:
    """The run that each reference meant when the reader began; `find` answers one for the first time.

    Raises:
        PlatformError: a run is not there any more.
    """
    known = bound_runs(reader)
    runs = {reference: known.get(reference) or find(reference) for reference in references}
    for run in runs.values():
        prepared(run)
    return runs


def fingerprints(sweep: Record, references: Iterable[str], index: Index) -> dict[str, str]:
    """Fingerprints of the data that a sweep read, by reference; data that no longer exists is left out."""
    bound = bound_runs(sweep)
    found = {}
    for reference in references:
        try:
            fingerprint = fingerprint_of(bound.get(reference) or index.finished(reference, "prepare").run)
        except UsageError:  # its run is gone
            continue
        if fingerprint is not None:
            found[reference] = fingerprint
    return found
