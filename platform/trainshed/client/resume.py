"""Going on with a training or a sweep that ended before its last step or trial: same run, a new submission.

Knows Records and job documents; what a checkpoint holds is the cluster's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainshed import __version__
from trainshed.client import check
from trainshed.client.address import Address
from trainshed.client.alive import SeenState
from trainshed.client.package import own_package, package_files
from trainshed.client.submit import Submitted, check_capacity, hand_over, provide_secrets
from trainshed.client.uploads import is_relative, uploads
from trainshed.errors import Fault, SpecError, UsageError
from trainshed.record.bound import bound_runs
from trainshed.record.cluster import KEY
from trainshed.record.facts import CodeFacts
from trainshed.record.run import Record, all_runs, now
from trainshed.record.storage import Storage
from trainshed.record.submission import FILE_NAME, PlannedRun, Submission
from trainshed.spec.addressing import addressed
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.data.sources import places
from trainshed.spec.document.yaml_tree import Document
from trainshed.spec.load import LoadedJob, load_documents

RESUMABLE: tuple[SeenState, ...] = ("failed", "stopped", "lost", "budget_reached")
MAY_CHANGE = {
    "train": ("workers", "engine", "steps", "checkpoint", "validation", "recovery", "max_failures", "self_test"),
    "tune": ("budget", "failures", "best_among", "search.trials", "search.concurrent", "trials_per_device"),
}
"""Beginnings of the paths that change how a run goes on, and not what it learns or has tried."""


@dataclass(frozen=True)
class Resumption:
    """A run that can go on, with every document of its submission in order."""

    record: Record
    documents: tuple[Record, ...]
    loaded: tuple[LoadedJob, ...]
    """The jobs of those that have not succeeded, the run's own first, with its changes."""


def prepare(record: Record, state: SeenState, sets: Sequence[str], *, why: str = "") -> Resumption:
    """Checks that the run can go on, as it is in `state` (`why`, where that is not known), with these changes.

    Raises:
        UsageError: it succeeded, still runs or may run, or is no training.
        SpecError: a change is to the model, the data or what is learnt, or cannot stand there.
        PlanError: it cannot fit.
    """
    kind = record.facts.job.kind
    if kind not in MAY_CHANGE:
        raise UsageError(f"{record.run_id} is a {kind} run; only a training or a sweep can go on, submit the job again")
    if state == "unknown":
        raise UsageError(
            f"{record.run_id} may still be running, and two drivers would write into one run: {why}; resume it once "
            "its cluster answers, or give --address of the one to ask instead, where that is gone for good"
        )
    if state not in RESUMABLE:
        doing = {"succeeded": "has succeeded", "skipped": "never began"}.get(state, f"is {state}")
        raise UsageError(f"{record.run_id} {doing}; only a failed, stopped or lost {kind} run can be resumed")
    own = load_documents([_document(record)])[0].job if sets else None
    for text in sets:
        assert own is not None
        _, path = addressed([own], text.partition("=")[0].strip())
        if not any(path == one or path.startswith(f"{one}.") for one in MAY_CHANGE[kind]):
            kept = "its model, data and maths" if kind == "train" else "its space, training and seed"
            message = f"a resumed {kind} run keeps {kept}; change {', '.join(MAY_CHANGE[kind])}"
            raise SpecError([Fault("--set", 0, text, message)])
    documents = _documents(record)
    unfinished = [one for one in documents if one.state != "succeeded"]
    if unfinished[0].run_id != record.run_id:
        raise UsageError(f"{record.run_id}: {unfinished[0].run_id} before it has not succeeded; resume that one")
    loaded = load_documents([_document(record)], sets)
    for one in unfinished[1:]:
        loaded += load_documents([_document(one)])
        job = loaded[-1].job
        if isinstance(job, PrepareJob) and any(map(is_relative, places(job.source).values())):
            raise UsageError(
                f"{one.run_id} after it reads files that were uploaded with the job; submit the job file again"
            )
    known = check.Known(record.storage, bound_runs(record))
    check.check(loaded, known, going_on=loaded[0])
    check.plans(loaded, known)
    return Resumption(record, documents, tuple(loaded))


def resume(
    resumption: Resumption, address: Address, storage: Storage, *, home: Path, say: Callable[[str], None]
) -> Submitted:
    """Starts a submission of all documents; the driver takes those that succeeded as done.

    Raises:
        CapacityError: the local cluster can never hold what is asked for.
        ClusterError: the cluster cannot be reached or refuses.
    """
    check_capacity(resumption.loaded, address)
    provide_secrets(resumption.loaded, address, home, say)
    record = resumption.record
    count = len(record.facts.before) + 2
    jobs = {one.run_id: one.job["job"] for one in resumption.documents}
    files: dict[str, Path] = {}
    unfinished = [one for one in resumption.documents if one.state != "succeeded"]
    for one, changed in zip(unfinished, resumption.loaded, strict=True):
        sent = uploads(changed)
        jobs[one.run_id], files = sent.job, files | sent.files
    code = own_package()
    submission = Submission(
        submission_id=f"ts-{record.run_id}-{count}",
        storage=storage.uri,
        runs=tuple(
            PlannedRun(run_id=one.run_id, job=jobs[one.run_id], file=one.facts.file) for one in resumption.documents
        ),
        created_at=now(),
        code=CodeFacts(version=__version__, package_sha256=code.sha256, git_commit=record.facts.code.git_commit),
        cluster=address.name,
    )
    handed = {KEY: address.name.model_dump(), "handed_over_at": submission.created_at}

    def reopen() -> None:
        for one in unfinished:
            one.reopen(submission.submission_id, jobs[one.run_id], **handed)

    def close_again() -> None:
        for one in unfinished:
            one.close_again()

    packages = (code, package_files({FILE_NAME: submission.to_json(), **files}))
    hand_over(address, submission, storage, packages=packages, before=reopen, take_back=close_again, home=home)
    return Submitted(submission.submission_id, submission.runs)


def _documents(record: Record) -> tuple[Record, ...]:
    """Every document of the run's submission, in order. Those that succeeded under an earlier one stay with it."""
    family = {record.facts.submission_id, *(earlier.submission_id for earlier in record.facts.before)}
    found = [one for one in all_runs(record.storage) if one.facts.submission_id in family]
    return tuple(sorted(found, key=lambda one: one.facts.number))


def _document(record: Record) -> Document:
    """The job as a document again, where it was: the module of a custom task lies beside it."""
    return Document(record.facts.file, 1, record.job["job"])
