"""The events of trackers: where a run is followed besides its Record, and when it cannot be."""

from __future__ import annotations

from typing import Literal

from trainshed.record.facts import Facts


class TrackerBegan(Facts):
    """A run is a run of a tracker."""

    event: Literal["tracker_began"] = "tracker_began"
    tracker: str
    tracker_run: str
    """Its id there."""
    where: str | None = None
    """An address or a folder to look at."""


class TrackerSilent(Facts):
    """A tracker takes nothing; said once, until it does again."""

    event: Literal["tracker_silent"] = "tracker_silent"
    tracker: str
    cause: str


class TrackerAnswers(Facts):
    """A tracker that took nothing has been sent all that it lacked."""

    event: Literal["tracker_answers"] = "tracker_answers"
    tracker: str
    seconds: float
    """Since it was last heard."""


class TrackerLeft(Facts):
    """A run has ended, and a tracker lacks a part of it."""

    event: Literal["tracker_left"] = "tracker_left"
    tracker: str
    cause: str
