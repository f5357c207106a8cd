"""A planned submission as what goes to the cluster: its description, its files and the code that checked it.

Knows job documents and this disk; sends nothing.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainshed import __version__
from trainshed.client.package import Package, own_package, package_files
from trainshed.client.plan import Planned
from trainshed.client.uploads import root_of, uploads
from trainshed.record.cluster import ClusterName
from trainshed.record.facts import CodeFacts
from trainshed.record.run import new_run_id, now
from trainshed.record.storage import Storage
from trainshed.record.submission import FILE_NAME, PlannedRun, Submission


@dataclass(frozen=True)
class Packed:
    """The packages to upload, and the submission that refers to them."""

    submission: Submission
    code: Package
    working: Package
    """The working directory of the job on the cluster."""


def pack(planned: Planned, storage: Storage, cluster: ClusterName) -> Packed:
    """Gives each document its run id, and gathers the files that go up with it.

    Raises:
        SpecError: more than 64 MB would go up with one.
    """
    code = own_package()
    runs: list[PlannedRun] = []
    files: dict[str, Path] = {}
    for one in planned.loaded:
        own = uploads(one)
        files |= own.files
        asked = None if one.asked is None else one.asked.model_dump(mode="json", by_alias=True, exclude_none=True)
        run_id = new_run_id(one.job.name)
        weights = dict(planned.weights.get(one.job.name, {}))
        runs.append(PlannedRun(run_id=run_id, job=own.job, file=one.document.file, asked=asked, weights=weights))
    commit = _git_commit(root_of(planned.loaded[0]))
    submission = Submission(
        submission_id=f"ts-{runs[0].run_id}",
        storage=storage.uri,
        runs=tuple(runs),
        created_at=now(),
        code=CodeFacts(version=__version__, package_sha256=code.sha256, git_commit=commit),
        cluster=cluster,
    )
    return packed(submission, code, files)


def packed(submission: Submission, code: Package, files: Mapping[str, Path]) -> Packed:
    """A submission with its files, by their names in the working directory."""
    return Packed(submission, code, package_files({FILE_NAME: submission.to_json(), **files}))


def _git_commit(folder: Path) -> str | None:
    """The commit of the folder that the job file lies in, `-dirty` where files differ from it; None outside git."""
    describe = ["describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    command = ["git", "-c", "core.fsmonitor=", "-C", str(folder), *describe]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
