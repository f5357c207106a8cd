"""Ending what was started."""

from __future__ import annotations

import secrets
import time

from trainshed.client.address import Address
from trainshed.client.hand_over import hand_over_take_down
from trainshed.client.jobs_api import JobsClient
from trainshed.client.ray_answers import JobStatus
from trainshed.errors import ClusterError
from trainshed.patience import Wait
from trainshed.record.run import Record, RunState
from trainshed.record.storage import Storage
from trainshed.record.submission import TakeDown
from trainshed.spec.kinds import GO_ON

POLL_S = 0.3
STOP_WAIT_S = 60.0
GRACE_S = 60.0
DELETE_WAIT_S = 120.0


def stop_submission(address: Address, submission_id: str) -> JobStatus:
    """Asks a job to end until it has; Ray forgets the request while a job is pending.

    Raises:
        ClusterError: it has not ended within a minute, or longer on a busy machine.
    """
    with JobsClient(address.url, address.token) as jobs:
        return _until_ended(jobs, submission_id, Wait(STOP_WAIT_S), ask_to_stop=True)


def stop_run(address: Address, record: Record, *, grace_s: float = GRACE_S) -> RunState:
    """Ends a run; the state it is in then. A training or a sweep is asked first, and has `grace_s` seconds to save.

    Raises:
        ClusterError: it has not ended within a minute after that, or longer on a busy machine.
    """
    if grace_s and record.state == "running" and record.facts.job.kind in GO_ON:
        record.ask_to_stop()
        deadline = time.monotonic() + grace_s
        with JobsClient(address.url, address.token) as jobs:
            while record.result is None and time.monotonic() < deadline:
                if jobs.status(record.facts.submission_id).terminal:
                    break
                time.sleep(POLL_S)
    if record.result is None:
        stop_submission(address, record.facts.submission_id)
    return record.state


def delete_endpoint(address: Address, storage: Storage, name: str) -> None:
    """Takes an endpoint down, and waits until it is.

    Raises:
        ClusterError: the cluster did not do it.
    """
    submission_id = f"ts-delete-{name}-{secrets.token_hex(3)}"
    hand_over_take_down(address, TakeDown(name=name, storage=storage.uri), submission_id)
    with JobsClient(address.url, address.token) as jobs:
        ended = _until_ended(jobs, submission_id, Wait(DELETE_WAIT_S), ask_to_stop=False)
    if ended.state != "SUCCEEDED":
        raise ClusterError(f"the endpoint {name} was not taken down: {ended.cause or ended.state}")


def _until_ended(jobs: JobsClient, submission_id: str, wait: Wait, *, ask_to_stop: bool) -> JobStatus:
    while True:
        status = jobs.status(submission_id)
        if status.terminal:
            return status
        if wait.over:
            raise ClusterError(f"{submission_id} has not ended within {wait}; it is {status.state}")
        if ask_to_stop:
            jobs.stop(submission_id)
        time.sleep(POLL_S)
