"""The values of `--set`: which document of a submission a dotted path means, and the documents with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trainshed.errors import Fault, SpecError
from trainshed.spec.document.override import override
from trainshed.spec.document.walk import keys_of, nearest, parts_of
from trainshed.spec.document.yaml_tree import parse_scalar
from trainshed.spec.job import Job
from trainshed.spec.sweep.from_best import TrainFromBest
from trainshed.spec.training.train import Training


def with_sets(jobs: Sequence[Job], sets: Sequence[str]) -> list[Job]:
    """The jobs with every `path=value`. All values of a document are set together: one that fits only with another is
    no fault, whichever was said first.

    Raises:
        SpecError: a path that means no document or is not there, or a value that cannot stand there.
    """
    values: dict[int, dict[str, Any]] = {}
    said: dict[int, dict[str, str]] = {}
    for text in sets:
        path, equals, value = text.partition("=")
        if not equals:
            raise SpecError([Fault("--set", 0, text, "expected path=value, like train.steps=200")])
        index, inner = addressed(jobs, path.strip())
        try:
            values.setdefault(index, {})[inner] = parse_scalar(value)
        except SpecError as error:
            raise SpecError([replace(fault, file=f"--set {text}", line=0) for fault in error.faults]) from None
        said.setdefault(index, {})[inner] = text
    changed = list(jobs)
    for index, given in values.items():
        try:
            changed[index] = _with_values(jobs[index], given)
        except SpecError as error:
            raise SpecError([replace(fault, file=_about(fault, said[index])) for fault in error.faults]) from None
    return changed


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


def _with_values(job: Job, given: Mapping[str, Any]) -> Job:
    """What a `from_best` document leaves to the best trial becomes a setting of it."""
    if not isinstance(job, TrainFromBest):
        return override(job, given)
    left = {path for path in given if path.split(".")[0] in Training.model_fields.keys() - TrainFromBest.model_fields}
    own = {path: value for path, value in given.items() if path not in left}
    if left:
        own["settings"] = {**job.settings, **{path: given[path] for path in given if path in left}}
    return override(job, own)


def _about(fault: Fault, said: Mapping[str, str]) -> str:
    """Each `--set` that a fault is about; all of its document where it is about none of them alone."""
    near = [text for path, text in said.items() if _one_holds_the_other(path, fault.key)]
    return " ".join(f"--set {text}" for text in near or said.values())


def _one_holds_the_other(path: str, other: str) -> bool:
    shorter, longer = sorted((f"{path}.", f"{other}."), key=len)
    return longer.startswith(shorter)
