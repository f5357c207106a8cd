"""Which document of a submission a dotted path of `--set` means, and which path inside of it."""

from __future__ import annotations

from collections.abc import Sequence

from trainshed.errors import Fault, SpecError
from trainshed.spec.job import Job
from trainshed.spec.train import TrainFromBest, Training
from trainshed.spec.walk import keys_of, nearest, parts_of


def addressed(jobs: Sequence[Job], path: str) -> tuple[int, str]:
    """The first word is a document's name, else its kind, else there is one document. A name that is a key too, as of a
    sweep called budget, is the key where the rest is none.

    Raises:
        SpecError: the path could mean several documents.
    """
    head, _, rest = path.partition(".")
    for attribute in ("name", "kind"):
        hits = [index for index, job in enumerate(jobs) if getattr(job, attribute) == head]
        if len(hits) == 1 and rest and not (len(jobs) == 1 and attribute == "kind"):
            return hits[0], path if _is_a_key_itself(jobs[hits[0]], head, rest) else rest
    if len(jobs) == 1:
        return 0, path
    names = {job.name for job in jobs} | {job.kind for job in jobs}
    message = f"which document? start the path with its name or kind; {nearest(head, names)}"
    raise SpecError([Fault(f"--set {path}", 0, "", message)])


def _is_a_key_itself(job: Job, head: str, rest: str) -> bool:
    keys = keys_of(type(job)) | (keys_of(Training) if isinstance(job, TrainFromBest) else {})
    first = rest.split(".")[0]
    inside = {key for part in parts_of(keys[head]) for key in keys_of(part)} if head in keys else set()
    return first in inside and (first not in keys or rest == "kind")
