"""What Ray's dashboard answers, as types. Knows the keys of its rows; raises what Python does where they are others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainshed.client.ray_log import without_log

TERMINAL_STATES = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})


@dataclass(frozen=True)
class JobStatus:
    """What Ray says of one submission; times are seconds since 1970."""

    submission_id: str
    state: str
    message: str
    node_id: str | None
    started_at: float | None
    ended_at: float | None
    exit_code: int | None
    entrypoint: str
    metadata: Mapping[str, str]

    @property
    def cause(self) -> str:
        """The message in a line: of the log that Ray adds only what is an error."""
        return without_log(self.message)

    @property
    def terminal(self) -> bool:
        """Whether it can no longer change."""
        return self.state in TERMINAL_STATES


@dataclass(frozen=True)
class Node:
    """One machine of the cluster and its Ray resources, such as `{"CPU": 3.0, "GPU": 1.0}`."""

    node_id: str
    head: bool
    resources: Mapping[str, float]


def node(row: Mapping[str, Any]) -> Node:
    """A machine's row."""
    return Node(row["node_id"], bool(row["is_head_node"]), row["resources_total"])


def job_status(row: Mapping[str, Any]) -> JobStatus:
    """A submission's row."""
    return JobStatus(
        submission_id=row["submission_id"],
        state=row["status"],
        message=row.get("message") or "",
        node_id=row.get("driver_node_id"),
        started_at=_seconds(row.get("start_time")),
        ended_at=_seconds(row.get("end_time")),
        exit_code=row.get("driver_exit_code"),
        entrypoint=row["entrypoint"],
        metadata=row.get("metadata") or {},
    )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
