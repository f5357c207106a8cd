"""What the Record keeps of a run in a tracker: which one it is there, and how much of it was sent.

    <folder>/trackers/<tracker>.json, of a run or of a trial of a sweep

Only the process that feeds this tracker writes it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trainshed.record.facts import Facts, read_facts
from trainshed.record.storage import Storage
from trainshed.spec.document.part import like

FOLDER = "trackers"
TrackerRunId = Annotated[str, like(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$", "no id of a run in a tracker")]


class TrackedFacts(Facts):
    """One run of ours in one tracker."""

    run: TrackerRunId
    """Its id there."""
    sent: Annotated[int, Field(ge=0)] = 0
    """The last step that stands there."""
    firm: Annotated[int, Field(ge=0)] = 0
    """The last of them that no restart does again."""
    ended_s: float | None = None
    """When it ended, since the epoch, where the tracker knows how."""


def read_tracked(storage: Storage, folder: str, tracker: str) -> TrackedFacts | None:
    """What was kept of the run in this folder; None where it has not begun in the tracker.

    Raises:
        DamagedFile: the file says something else.
    """
    return read_facts(storage, _path(folder, tracker), TrackedFacts)


def is_tracked(storage: Storage, folder: str, tracker: str) -> bool:
    """Whether the run in this folder has begun in the tracker."""
    return storage.exists(_path(folder, tracker))


def keep_tracked(storage: Storage, folder: str, tracker: str, facts: TrackedFacts) -> None:
    """Replaces it."""
    storage.write_json(_path(folder, tracker), facts.as_json())


def _path(folder: str, tracker: str) -> str:
    return f"{folder}/{FOLDER}/{tracker}.json"
