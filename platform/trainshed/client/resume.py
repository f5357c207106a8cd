"""Going on with a training or a sweep that ended before its last step or trial: same run, a new submission.

Knows Records and job documents; what a checkpoint holds is the cluster's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainshed import __version__
from trainshed.client.address import Address
from trainshed.client.alive import SeenState
from trainshed.client.answers import Begun
from trainshed.client.bind import bind
from trainshed.client.check import check, faults_here
from trainshed.client.hand_over import hand_over
from trainshed.client.local_needs import check_capacity, provide_secrets
from trainshed.client.pack import Packed, packed
from trainshed.client.package import own_package
from trainshed.client.plan import Planned, plan
from trainshed.client.submit import Submitted
from trainshed.client.uploads import is_relative, uploads
from trainshed.errors import Fault, SpecError, UsageError
from trainshed.record.bound import bound_runs
from trainshed.record.cluster import KEY, ClusterName
from trainshed.record.facts import CodeFacts
from trainshed.record.index import Index
from trainshed.record.run import Record, now
from trainshed.record.storage import Storage
from trainshed.record.submission import PlannedRun, Submission
from trainshed.record.weights import kept
from trainshed.spec.addressing import addressed
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.data.sources import places
from trainshed.spec.document.yaml_tree import Document
from trainshed.spec.load import LoadedJob, load_documents

RESUMABLE: tuple[SeenState, ...] = ("failed", "stopped", "lost", "budget_reached")
MAY_CHANGE = {
    "train": (
        *("workers", "engine", "steps", "checkpoint", "validation", "recovery", "max_failures", "self_test"),
        *("export", "report_to"),
    ),
    "reference": ("workers", "engine", "max_failures"),
    "evaluate": ("workers", "engine", "max_failures"),
    "tune": (
        *("budget", "failures", "best_among", "search.trials", "search.concurrent", "trials_per_device"),
        "report_to",
    ),
}
"""Beginnings of the paths that change how a run goes on, and not what it learns or has tried."""
KEPT = {
    "train": "its model, data and maths",
    "reference": "its model, data and precision",
    "evaluate": "its model, data and gate",
    "tune": "its space, training and seed",
}
"""What does not change."""


@dataclass(frozen=True)
class Resumption:
    """A run that can go on, with every document of its submission in order."""

    record: Record
    documents: tuple[Record, ...]
    planned: Planned
    """The jobs of those that have not succeeded, the run's own first, with its changes."""

    @property
    def unfinished(self) -> tuple[Record, ...]:
        """The documents that have not succeeded, in order."""
        return tuple(one for one in self.documents if one.state != "succeeded")


def prepare(record: Record, state: SeenState, sets: Sequence[str], index: Index, *, why: str = "") -> Resumption:
    """Checks that the run can go on, as it is in `state` (`why`, where that is not known), with these changes.

    Raises:
        UsageError: it succeeded, still runs or may run, or is no training.
        SpecError: a change is to the model, the data or what is learnt, or cannot stand there.
        PlanError: it cannot fit.
    """
    _may_go_on(record, state, why)
    _refuse_other_changes(record, sets)
    documents = _documents(record, index)
    loaded = _unfinished_jobs(record, documents, sets)
    found = faults_here(loaded)
    bound = bind(loaded, index, begun=Begun(loaded[0], bound_runs(record), kept(record)), found=found)
    check(bound)
    return Resumption(record, documents, plan(bound))


def resume(
    resumption: Resumption, address: Address, storage: Storage, *, home: Path, say: Callable[[str], None]
) -> Submitted:
    """Starts a submission of all documents; the driver takes those that succeeded as done.

    Raises:
        CapacityError: the local cluster can never hold what is asked for.
        ClusterError: the cluster cannot be reached or refuses.
    """
    check_capacity(resumption.planned.loaded, address)
    provide_secrets(resumption.planned.loaded, address, home, say)
    unfinished = resumption.unfinished
    again = _pack(resumption, unfinished, storage, address.name)
    submission = again.submission
    jobs = {one.run_id: one.job for one in submission.runs}
    handed = {KEY: address.name.model_dump(), "handed_over_at": submission.created_at}

    def reopen() -> None:
        for one in unfinished:
            one.reopen(submission.submission_id, jobs[one.run_id], **handed)

    def close_again() -> None:
        for one in unfinished:
            one.close_again()

    hand_over(again, address, storage, before=reopen, take_back=close_again, home=home)
    return Submitted(submission.submission_id, submission.runs)


def _may_go_on(record: Record, state: str, why: str) -> None:
    """Raises UsageError where a run of this kind, in this state, cannot."""
    kind = record.facts.job.kind
    if kind not in MAY_CHANGE:
        raise UsageError(
            f"{record.run_id} is a {kind} run; what trains, searches or measures can go on; submit the job again"
        )
    if state == "unknown":
        raise UsageError(
            f"{record.run_id} may still be running, and two drivers would write into one run: {why}; resume it once "
            "its cluster answers, or give --address of the one to ask instead, where that is gone for good"
        )
    if state not in RESUMABLE:
        doing = {"succeeded": "has succeeded", "skipped": "never began"}.get(state, f"is {state}")
        raise UsageError(f"{record.run_id} {doing}; only a failed, stopped or lost {kind} run can be resumed")


def _refuse_other_changes(record: Record, sets: Sequence[str]) -> None:
    """Raises SpecError for a change to what is learnt or has been tried."""
    if not sets:
        return
    kind = record.facts.job.kind
    own = load_documents([_document(record)])[0].job
    for text in sets:
        _, path = addressed([own], text.partition("=")[0].strip())
        if not any(path == one or path.startswith(f"{one}.") for one in MAY_CHANGE[kind]):
            kept = KEPT[kind]
            message = f"a resumed {kind} run keeps {kept}; change {', '.join(MAY_CHANGE[kind])}"
            raise SpecError([Fault("--set", 0, text, message)])


def _documents(record: Record, index: Index) -> tuple[Record, ...]:
    """Every document of the run's submission, in order. Those that succeeded under an earlier one stay with it."""
    family = {record.facts.submission_id, *(earlier.submission_id for earlier in record.facts.before)}
    found = [one for one in index.runs if one.facts.submission_id in family]
    return tuple(one.run for one in sorted(found, key=lambda one: one.facts.number))


def _unfinished_jobs(record: Record, documents: Sequence[Record], sets: Sequence[str]) -> list[LoadedJob]:
    """The jobs of the documents that have not succeeded, the run's own first, with its changes.

    Raises:
        UsageError: one before it has not succeeded, or one after it reads files that are not kept.
        SpecError: a change cannot stand there.
    """
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
    return loaded


def _pack(resumption: Resumption, unfinished: Sequence[Record], storage: Storage, cluster: ClusterName) -> Packed:
    """Every document: those that succeeded as they are recorded, the others with their changes and files."""
    record = resumption.record
    jobs = {one.run_id: one.job["job"] for one in resumption.documents}
    files: dict[str, Path] = {}
    for one, changed in zip(unfinished, resumption.planned.loaded, strict=True):
        sent = uploads(changed)
        jobs[one.run_id] = sent.job
        files |= sent.files
    code = own_package()
    number = len(record.facts.before) + 2
    submission = Submission(
        submission_id=f"ts-{record.run_id}-{number}",
        storage=storage.uri,
        runs=tuple(
            PlannedRun(run_id=one.run_id, job=jobs[one.run_id], file=one.facts.file) for one in resumption.documents
        ),
        created_at=now(),
        code=CodeFacts(version=__version__, package_sha256=code.sha256, git_commit=record.facts.code.git_commit),
        cluster=cluster,
    )
    return packed(submission, code, files)


def _document(record: Record) -> Document:
    """The job as a document again, where it was: the module of a custom task lies beside it."""
    return Document(record.facts.file, 1, record.job["job"])
