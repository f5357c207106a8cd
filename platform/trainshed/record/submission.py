"""What the laptop hands to the cluster beside the code: the jobs of one submission with their run ids."""

from __future__ import annotations

from pydantic import Field, JsonValue, TypeAdapter

from trainshed.record import weights
from trainshed.record.cluster import KEY, ClusterName
from trainshed.record.facts import CodeFacts
from trainshed.record.results import Origin
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.spec.document.part import Name, Part

FILE_NAME = "submission.json"
TAKE_DOWN_FILE = "take-down.json"


class PlannedRun(Part):
    """One document and the run it will be."""

    run_id: str
    job: dict[str, JsonValue]
    """The job as JSON; the cluster validates it with the same classes."""
    file: str
    """The job file, as the user named it."""
    asked: dict[str, JsonValue] | None = None
    """The job as the user wrote it, where the plan has put numbers in place of `auto`."""
    weights: dict[str, Origin] = Field(default={})
    """What each of its references to a model or a checkpoint of ours meant when it was submitted."""


class Submission(Part):
    """Documents that run in order, each after the former succeeded."""

    submission_id: str
    storage: str
    """Folder or URI that laptop and cluster both see."""
    runs: tuple[PlannedRun, ...]
    created_at: str
    code: CodeFacts
    """Version and hash of the package that runs, and the git commit of the folder it was submitted from."""
    cluster: ClusterName | None = None
    """Where it was handed over."""

    def to_json(self) -> bytes:
        """The bytes of submission.json."""
        return self.model_dump_json(indent=1).encode()

    @staticmethod
    def from_json(content: bytes) -> Submission:
        """Reads what `to_json` wrote."""
        return TypeAdapter(Submission).validate_json(content)


class TakeDown(Part):
    """An endpoint that shall be there no more. A file as the submission is: no value stands in a command line."""

    name: Name
    storage: str

    def to_json(self) -> bytes:
        """The bytes of take-down.json."""
        return self.model_dump_json().encode()

    @staticmethod
    def from_json(content: bytes) -> TakeDown:
        """Reads what `to_json` wrote."""
        return TypeAdapter(TakeDown).validate_json(content)


def begin_runs(submission: Submission, storage: Storage) -> None:
    """Writes job.json of every run: it is listed from the moment it is handed over. Again, it changes nothing."""
    for number, planned in enumerate(submission.runs):
        record = Record(storage, planned.run_id)
        if not storage.exists(record.at("job.json")):
            record.begin(
                planned.job,
                submission_id=submission.submission_id,
                created_at=submission.created_at,
                number=number,
                file=planned.file,
                code=submission.code.as_json(),
                **({} if submission.cluster is None else {KEY: submission.cluster.model_dump()}),
                **({} if planned.asked is None else {"asked": planned.asked}),
            )
            if planned.weights:
                weights.keep(record, planned.weights)


def forget_runs(submission: Submission, storage: Storage) -> None:
    """Takes back what `begin_runs` wrote: the cluster never got the submission."""
    for planned in submission.runs:
        storage.delete(f"runs/{planned.run_id}")
