"""Why an endpoint does not answer, in the words of its replicas: its own cluster is asked, which keeps them.

A replica that finds other files than those that were exported does not start, and nobody follows it any more by then.
"""

from __future__ import annotations

from pathlib import Path

from trainshed.client.alive import ANSWER_S, Clusters
from trainshed.client.jobs_api import JobsClient
from trainshed.errors import PlatformError
from trainshed.record.replica_cause import replica_cause
from trainshed.record.run import Record
from trainshed.record.storage import Storage


def why_silent(home: Path, storage: Storage, name: str, run_id: str) -> str | None:
    """The cause in one line; None where its cluster cannot be asked, or has nothing to say."""
    try:
        address = Clusters(home, None).of(Record(storage, run_id).job)
        with JobsClient(address.url, address.token, timeout_s=ANSWER_S) as jobs:
            return replica_cause(jobs.serve_messages(name))
    except PlatformError:  # the list of endpoints says that it does not answer, whoever else is silent
        return None
