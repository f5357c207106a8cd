"""The state of a run as a person sees it: the Record's, unless what should end it is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainshed.cli import context

if TYPE_CHECKING:
    from trainshed.record.run import Record

LOST = "lost"


def state_of(record: Record) -> str:
    """The Record's state; `lost` where the cluster that ran it is gone or says that it ended without a result."""
    state = record.state
    if state not in ("running", "waiting"):
        return state
    from trainshed.client.stop import is_alive

    return state if is_alive(context.home(), record.job["submission_id"]) else LOST
