"""Waiting for a cluster that does not take jobs yet: its head starts, or the way to it is being made."""

from __future__ import annotations

import time
from collections.abc import Callable

from trainshed.client.address import Address
from trainshed.client.jobs_api import JobsClient, Unreachable
from trainshed.errors import ClusterError
from trainshed.patience import Wait

READY_S = 60.0
_ANSWER_S = 5.0
_POLL_S = 0.5


def until_ready(address: Address, *, say: Callable[[str], None], start_timeout_s: float | None = None) -> None:
    """Returns once the cluster takes jobs; that it must be waited for is said, once.

    Raises:
        ClusterError: it does not within `start_timeout_s`, or refuses.
    """
    wait = Wait(READY_S) if start_timeout_s is None else Wait(start_timeout_s, exact=True)
    said = False
    with JobsClient(address.url, address.token, timeout_s=_ANSWER_S) as jobs:
        while True:
            try:
                if jobs.ready_head() is not None:
                    return
                found = f"the head of {address.url} does not take jobs yet"
            except Unreachable as error:
                found = str(error)
            if not said:
                say(f"{found}; waiting for it, {wait} at most")
            said = True
            if wait.over:
                raise ClusterError(f"{found}; it was not ready within {wait}, --start-timeout gives it longer")
            time.sleep(_POLL_S)
