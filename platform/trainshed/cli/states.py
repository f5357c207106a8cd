"""The state of a run as a person sees it: the Record's, unless its own cluster says that nothing will end it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trainshed.cli import context

if TYPE_CHECKING:
    from trainshed.client.alive import Clusters, SeenState
    from trainshed.record.run import Record

LOST: Literal["lost"] = "lost"
"""Its own cluster is gone, or says that it ended without a result."""
UNKNOWN: Literal["unknown"] = "unknown"
"""Its own cluster does not answer, or may not be asked."""


@dataclass(frozen=True)
class Seen:
    """A state, and for what a cluster had to be asked, what was found there."""

    state: SeenState
    why: str = ""


class States:
    """States of runs, for one command: which clusters there are is found out once, and only where it matters."""

    def __init__(self, address: str | None) -> None:
        self._explicit = address
        self._clusters: Clusters | None = None

    @property
    def clusters(self) -> Clusters:
        """Where runs live; costs HTTP and pydantic."""
        if self._clusters is None:
            from trainshed.client.alive import Clusters

            self._clusters = Clusters(context.home(), self._explicit)
        return self._clusters

    def see(self, record: Record) -> Seen:
        """The state of a run now."""
        state = record.state
        if state not in ("running", "waiting"):
            return Seen(state)
        from datetime import UTC, datetime

        from trainshed.client.alive import Sign

        answer = self.clusters.sign(record.job, now=datetime.now(UTC))
        if answer.sign is Sign.ALIVE:
            return Seen(state)
        if record.result is not None:  # it ended while its cluster was asked
            return Seen(record.state)
        return Seen(LOST if answer.sign is Sign.OVER else UNKNOWN, answer.why)

    def of(self, record: Record) -> SeenState:
        """The state as a plain name."""
        return self.see(record).state
