"""From checked jobs to a running submission: make missing keys, pack, hand over.

Knows job files, storage and the Jobs REST interface; prints nothing.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainshed import __version__
from trainshed.client.address import Address
from trainshed.client.jobs_api import JobsClient, UnknownJob, Unreachable
from trainshed.client.known_clusters import remember
from trainshed.client.package import Package, own_package, package_files
from trainshed.client.ray_head import LOOPBACK
from trainshed.client.uploads import root_of, uploads
from trainshed.errors import CapacityError, ClusterError
from trainshed.record.cluster import ClusterName
from trainshed.record.facts import CodeFacts
from trainshed.record.run import new_run_id, now
from trainshed.record.secrets import find_secret, keep_secret, let_go_to, new_key
from trainshed.record.storage import Storage
from trainshed.record.submission import (
    FILE_NAME,
    TAKE_DOWN_FILE,
    PlannedRun,
    Submission,
    TakeDown,
    begin_runs,
    forget_runs,
)
from trainshed.spec.load import LoadedJob
from trainshed.spec.serving.serve import ServeJob
from trainshed.spec.sweep.tune import TuneJob

ENTRYPOINT = f"python -m trainshed.runtime.supervise {FILE_NAME}"
TAKE_DOWN_ENTRYPOINT = f"python -m trainshed.runtime --take-down {TAKE_DOWN_FILE}"
"""Ray gives an entrypoint to a shell: each is a constant, and what it needs lies in a file beside it."""


@dataclass(frozen=True)
class Submitted:
    """What was handed over."""

    submission_id: str
    runs: tuple[PlannedRun, ...]


def submit(
    loaded: Sequence[LoadedJob], address: Address, storage: Storage, *, home: Path, say: Callable[[str], None]
) -> Submitted:
    """Packs code and files, makes missing keys on a local cluster, and posts the job.

    Raises:
        CapacityError: the local cluster can never hold what is asked for.
        ClusterError: the cluster cannot be reached or refuses.
    """
    check_capacity(loaded, address)
    provide_secrets(loaded, address, home, say)
    code = own_package()
    submission, files = _submission(loaded, storage, code.sha256, address.name)
    working = package_files({FILE_NAME: submission.to_json(), **files})
    hand_over(
        address,
        submission,
        storage,
        packages=(code, working),
        before=lambda: begin_runs(submission, storage),
        take_back=lambda: forget_runs(submission, storage),
        home=home,
    )
    return Submitted(submission.submission_id, submission.runs)


def hand_over(
    address: Address,
    submission: Submission,
    storage: Storage,
    *,
    packages: tuple[Package, Package],
    before: Callable[[], None],
    take_back: Callable[[], None],
    home: Path,
) -> None:
    """Sends code and files and starts the job; `before` writes to the Record, `take_back` undoes it on a refusal."""
    code, working = packages
    remember(home, address.name, address.url)
    with JobsClient(address.url, address.token) as jobs:
        jobs.upload(code)
        jobs.upload(working)
        before()
        try:
            jobs.submit(
                submission.submission_id,
                ENTRYPOINT,
                _environment(code, working),
                {"runs": " ".join(run.run_id for run in submission.runs), "storage": storage.uri},
            )
        except Unreachable:
            if not _arrived(jobs, submission.submission_id):
                take_back()
                raise
        except ClusterError:
            take_back()
            raise


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


def hand_over_take_down(address: Address, order: TakeDown, submission_id: str) -> None:
    """Has the cluster take an endpoint down."""
    code, working = own_package(), package_files({TAKE_DOWN_FILE: order.to_json()})
    with JobsClient(address.url, address.token) as jobs:
        jobs.upload(code)
        jobs.upload(working)
        jobs.submit(submission_id, TAKE_DOWN_ENTRYPOINT, _environment(code, working), {})


def _submission(
    loaded: Sequence[LoadedJob], storage: Storage, code: str, cluster: ClusterName
) -> tuple[Submission, dict[str, Path]]:
    runs: list[PlannedRun] = []
    files: dict[str, Path] = {}
    for one in loaded:
        own = uploads(one)
        files |= own.files
        asked = None if one.asked is None else one.asked.model_dump(mode="json", by_alias=True, exclude_none=True)
        runs.append(PlannedRun(run_id=new_run_id(one.job.name), job=own.job, file=one.document.file, asked=asked))
    submission = Submission(
        submission_id=f"ts-{runs[0].run_id}",
        storage=storage.uri,
        runs=tuple(runs),
        created_at=now(),
        code=CodeFacts(version=__version__, package_sha256=code, git_commit=_git_commit(root_of(loaded[0]))),
        cluster=cluster,
    )
    return submission, files


def check_capacity(loaded: Sequence[LoadedJob], address: Address) -> None:
    """Compares what the jobs ask for with the local cluster, which cannot grow.

    Raises:
        CapacityError: it can never hold that.
    """
    if address.local is None:
        return
    for one in loaded:
        key = "train.workers" if isinstance(one.job, TuneJob) else "workers"
        workers = one.job.train.workers if isinstance(one.job, TuneJob) else getattr(one.job, "workers", None)
        if workers is None:
            continue
        for what, asked, there in (
            ("CPUs", workers.min_count * workers.cpus, address.local.cpus),
            ("GPUs", workers.min_count * workers.gpus, address.local.gpus),
        ):
            if asked > there:
                place = f"{one.document.file}:{one.document.line_of(tuple(key.split('.')))}: {key}"
                raise CapacityError(
                    f"{place}: {workers.min_count} workers ask for {asked:g} {what}, the local cluster has {there:g}; "
                    "ask for fewer, or give --address of a larger cluster"
                )


def provide_secrets(loaded: Sequence[LoadedJob], address: Address, home: Path, say: Callable[[str], None]) -> None:
    """On a local cluster a key from the environment, or a fresh one, is kept where the replicas find it.

    From then on it may go to the endpoint that it was made for.
    """
    if address.local is None:
        return
    for job in [one.job for one in loaded if isinstance(one.job, ServeJob)]:
        for name in job.auth.keys:
            known = find_secret(name, home)
            if known is None:
                path = keep_secret(name, new_key(), home)
                say(f"made a key for {name}: {path}")
            else:
                keep_secret(name, known, home)
            let_go_to(name, f"http://{_serve_host()}:{address.local.serve_port}/{job.name}", home)


def _serve_host() -> str:
    """Where the local cluster's endpoints answer, as `runtime.serving` says it."""
    host = os.environ.get("PLATFORM_SERVE_HOST", LOOPBACK)
    return LOOPBACK if host in ("0.0.0.0", "::", "localhost") else host  # noqa: S104


def _environment(code: Package, working: Package) -> dict[str, Any]:
    """Ray expands `$NAME` in the values of variables: nothing that somebody chose may stand in one.

    Container images like to say PYTHONDONTWRITEBYTECODE: each process of a job would compile its code anew.
    """
    variables = {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
    return {"py_modules": [code.uri], "working_dir": working.uri, "env_vars": variables}


def _git_commit(folder: Path) -> str | None:
    """The commit of the folder that the job file lies in, `-dirty` where files differ from it; None outside git."""
    try:
        command = [
            "git",
            "-c",
            "core.fsmonitor=",
            "-C",
            str(folder),
            "describe",
            "--always",
            "--abbrev=40",
            "--dirty",
            "--exclude=*",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
