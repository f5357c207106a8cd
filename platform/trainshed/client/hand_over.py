"""Handing packed work to a cluster, and what becomes of the Record where the cluster refuses or does not answer.

Knows the Jobs REST interface and Ray's runtime environments; does not know what lies in a package.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainshed.client.address import Address
from trainshed.client.jobs_api import JobsClient, UnknownJob, Unreachable
from trainshed.client.known_clusters import remember
from trainshed.client.pack import Packed
from trainshed.client.package import Package, own_package, package_files
from trainshed.errors import ClusterError
from trainshed.record.storage import Storage
from trainshed.record.submission import FILE_NAME, TAKE_DOWN_FILE, TakeDown

ENTRYPOINT = f"python -m trainshed.runtime.supervise {FILE_NAME}"
TAKE_DOWN_ENTRYPOINT = f"python -m trainshed.runtime --take-down {TAKE_DOWN_FILE}"
"""Ray gives an entrypoint to a shell: each is a constant, and what it needs lies in a file beside it."""


def hand_over(
    packed: Packed,
    address: Address,
    storage: Storage,
    *,
    before: Callable[[], None],
    take_back: Callable[[], None],
    home: Path,
) -> None:
    """Sends code and files and starts the job; `before` writes to the Record, `take_back` undoes it on a refusal.

    Raises:
        ClusterError: the cluster cannot be reached or refuses.
    """
    submission = packed.submission
    remember(home, address.name, address.url)
    with JobsClient(address.url, address.token) as jobs:
        jobs.upload(packed.code)
        jobs.upload(packed.working)
        before()
        try:
            jobs.submit(
                submission.submission_id,
                ENTRYPOINT,
                _environment(packed.code, packed.working),
                {"runs": " ".join(run.run_id for run in submission.runs), "storage": storage.uri},
            )
        except Unreachable:
            if not _arrived(jobs, submission.submission_id):
                take_back()
                raise
        except ClusterError:
            take_back()
            raise


def hand_over_take_down(address: Address, order: TakeDown, submission_id: str) -> None:
    """Has the cluster take an endpoint down."""
    code = own_package()
    working = package_files({TAKE_DOWN_FILE: order.to_json()})
    with JobsClient(address.url, address.token) as jobs:
        jobs.upload(code)
        jobs.upload(working)
        jobs.submit(submission_id, TAKE_DOWN_ENTRYPOINT, _environment(code, working), {})


def _arrived(jobs: JobsClient, submission_id: str) -> bool:
    """Whether the cluster has a job whose submission it did not answer in time.

    Raises:
        Unreachable: it does not say: the job may run, so that its record must stay.
    """
    try:
        jobs.status(submission_id)
    except UnknownJob:
        return False
    except Unreachable as error:
        raise Unreachable(
            f"{error}; {submission_id} may have arrived all the same: `platform runs` shows it once the cluster answers"
        ) from error
    return True


def _environment(code: Package, working: Package) -> dict[str, Any]:
    """Ray expands `$NAME` in the values of variables: nothing that somebody chose may stand in one.

    Container images like to say PYTHONDONTWRITEBYTECODE: each process of a job would compile its code anew.
    """
    variables = {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
    return {"py_modules": [code.uri], "working_dir": working.uri, "env_vars": variables}
