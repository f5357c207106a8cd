"""Whether a run without a result can still end it: its own cluster is asked, and no other is believed.

A second driver of a run would write into the first one's files. So "nobody knows" is an answer of its own here, and it
is never taken for "it is gone".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from trainshed.client.address import Address, Unreached, find_address, own_address, same_cluster
from trainshed.client.jobs_api import JobsClient, UnknownJob
from trainshed.errors import ClusterError, UsageError
from trainshed.record.cluster import ClusterName, cluster_of
from trainshed.record.run import RunState

SeenState = RunState | Literal["lost", "unknown"]
"""The state of a run as a laptop sees it: what its own cluster says of it counts where it has no result."""
ANSWER_S = 5.0
HANDING_OVER_S = 120.0
"""A run stands in storage before its cluster has taken the job; so long it may not know it yet."""


class Sign(StrEnum):
    """What is known of a run that has no result."""

    ALIVE = "alive"
    OVER = "over"
    """Its cluster says so: it has ended, or was never there. Or it was this home's local one, and is gone."""
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """A sign, and why, in words."""

    sign: Sign
    why: str


class Clusters:
    """Where runs live, for one command. A cluster that did not answer once is not waited for again.

    `explicit` is what the user says to be the run's cluster, also where its record names another: that one may be gone
    for good. As long as the other can be asked its word counts as well: what it calls alive is.
    """

    def __init__(self, home: Path, explicit: str | None) -> None:
        self._home = home
        self._explicit = find_address(home, explicit) if explicit is not None else None
        self._silent: dict[str, str] = {}

    def of(self, job: Mapping[str, Any]) -> Address:
        """The cluster that a verb about this run speaks to.

        Raises:
            UsageError: there is none, or nobody vouches for it.
        """
        name = cluster_of(job)
        if self._explicit is not None:
            return self._explicit
        if name is None:  # of a former version
            if (found := find_address(self._home, None)) is not None:
                return found
            raise UsageError(f"{job['run_id']} does not say where it ran; give --address of its cluster")
        own = own_address(self._home, name)
        if isinstance(own, Unreached):
            raise UsageError(f"{job['run_id']} is on {name.url}, {own.value}; {_instead(own)}")
        return own

    def has_ended(self, job: Mapping[str, Any]) -> bool:
        """Whether it ran on this home's local cluster, and that is gone with all that it held."""
        name = cluster_of(job)
        return self._explicit is None and name is not None and own_address(self._home, name) is Unreached.ENDED

    def to_go_on(self, job: Mapping[str, Any]) -> Address | None:
        """Where an ended run goes on: its own cluster, unless the user names another or nobody here can speak to it."""
        name = cluster_of(job)
        if self._explicit is not None or name is None:
            return self._explicit
        own = own_address(self._home, name)
        return own if isinstance(own, Address) else None

    def sign(self, job: Mapping[str, Any], *, now: datetime) -> Answer:
        """What is known of the run of this job.json."""
        name = cluster_of(job)
        if self._explicit is None:
            return self._default(job) if name is None else self._own(name, job, now)
        said = self._ask(self._explicit, job, now)
        if name is None or said.sign is Sign.ALIVE or same_cluster(self._explicit.url, name.url):
            return said
        own = self._own(name, job, now)
        return said if own.sign is Sign.UNKNOWN else own

    def _own(self, name: ClusterName, job: Mapping[str, Any], now: datetime) -> Answer:
        own = own_address(self._home, name)
        if isinstance(own, Address):
            return self._ask(own, job, now)
        sign = Sign.OVER if own is Unreached.ENDED else Sign.UNKNOWN
        return Answer(sign, f"{name.url} is {own.value}")

    def _default(self, job: Mapping[str, Any]) -> Answer:
        """A run of a former version: today's cluster may know it. That it does not, says nothing."""
        address = find_address(self._home, None)
        if address is None:
            return Answer(Sign.UNKNOWN, "the run does not say where it was, and no cluster is configured")
        try:
            return self._status(address, job)
        except UnknownJob as error:
            return Answer(Sign.UNKNOWN, f"the run does not say where it was, and {error}")

    def _ask(self, address: Address, job: Mapping[str, Any], now: datetime) -> Answer:
        try:
            return self._status(address, job)
        except UnknownJob as error:
            if now - _handed_over(job, otherwise=now) < timedelta(seconds=HANDING_OVER_S):
                return Answer(Sign.UNKNOWN, f"{error} yet; it is being handed over")
            return Answer(Sign.OVER, str(error))

    def _status(self, address: Address, job: Mapping[str, Any]) -> Answer:
        """Raises UnknownJob."""
        if address.url in self._silent:
            return Answer(Sign.UNKNOWN, self._silent[address.url])
        try:
            with JobsClient(address.url, address.token, timeout_s=ANSWER_S) as jobs:
                status = jobs.status(str(job["submission_id"]))
        except ClusterError as error:
            self._silent[address.url] = str(error)
            return Answer(Sign.UNKNOWN, str(error))
        sign = Sign.OVER if status.terminal else Sign.ALIVE
        return Answer(sign, f"the cluster at {address.url} says {status.state}")


def _handed_over(job: Mapping[str, Any], *, otherwise: datetime) -> datetime:
    """When a cluster was given the job; `otherwise` where that cannot be read."""
    try:
        found = datetime.fromisoformat(job.get("handed_over_at") or job["created_at"])
    except (KeyError, TypeError, ValueError):
        return otherwise
    return found if found.tzinfo is not None else otherwise


def _instead(own: Unreached) -> str:
    match own:
        case Unreached.ENDED:
            return "its endpoints and jobs ended with it"
        case Unreached.ELSEWHERE:
            return "call it there"
        case Unreached.UNVOUCHED:
            return "give --address with it, where you trust it"
