"""Job files to validated jobs: every fault of every document at once, each with file, line and key.

The laptop calls it before anything is sent; the cluster reads the same documents with the same classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from trainshed.errors import Fault, SpecError
from trainshed.spec.addressing import with_sets
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.document.faults import explain, said_of_kind, validate
from trainshed.spec.document.part import Part
from trainshed.spec.document.yaml_tree import Document, parse
from trainshed.spec.evaluation.evaluate import EvaluateJob
from trainshed.spec.evaluation.gates import gate_misfits
from trainshed.spec.fitting import DataForm, form_of, misfits, reference_misfits
from trainshed.spec.job import KINDS, Job, JobDocument, Reference, references, versions_made
from trainshed.spec.kinds import is_wanted, with_article
from trainshed.spec.serving.serve import ServeJob
from trainshed.spec.sweep.earlier_sweeps import unlike
from trainshed.spec.sweep.from_best import TrainFromBest
from trainshed.spec.sweep.space_check import space_faults
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.reference import ReferenceJob
from trainshed.spec.training.train import Training, TrainJob

PARTS: dict[str, list[type[Part]]] = {
    "prepare": [PrepareJob],
    "reference": [ReferenceJob],
    "tune": [TuneJob],
    "train": [TrainJob, TrainFromBest],
    "evaluate": [EvaluateJob],
    "serve": [ServeJob],
}


@dataclass(frozen=True)
class LoadedJob:
    """A job and the document it came from."""

    job: Job
    document: Document
    asked: Job | None = None
    """The job as the user wrote it, where the plan has put numbers in place of `auto`."""

    def fault(self, key: str, message: str) -> Fault:
        """A fault at a dotted key of this document."""
        return Fault(self.document.file, self.document.line_of(tuple(key.split("."))), key, message)


def load_files(files: Sequence[FilePath], sets: Sequence[str] = ()) -> list[LoadedJob]:
    """The jobs of all files in order, with each `--set path=value` applied.

    Raises:
        SpecError: every fault found.
    """
    documents: list[Document] = []
    faults: list[Fault] = []
    for file in files:
        try:
            documents += parse(read_text(file), str(file))
        except SpecError as error:
            faults += error.faults
    if faults:
        raise SpecError(faults)
    return load_documents(documents, sets)


def load_documents(documents: Sequence[Document], sets: Sequence[str] = ()) -> list[LoadedJob]:
    """Validated jobs of parsed documents; see `load_files`."""
    faults: list[Fault] = []
    loaded: list[LoadedJob] = []
    for document in documents:
        try:
            loaded.append(LoadedJob(_one(document), document))
        except SpecError as error:
            faults += error.faults
    faults += _names_given_twice(loaded)
    if faults:
        raise SpecError(faults)
    changed = with_sets([one.job for one in loaded], sets)
    loaded = [replace(one, job=job) for one, job in zip(loaded, changed, strict=True)]
    faults = [fault for one in loaded if isinstance(one.job, TuneJob) for fault in space_faults(one.job, one.document)]
    faults += [loaded[place].fault(key, said) for place, key, said in gate_misfits([one.job for one in loaded])]
    faults += _from_best_faults(loaded) + _data_faults(loaded) + _learn_from_faults(loaded)
    if faults:
        raise SpecError(faults)
    return loaded


def outside_references(loaded: Sequence[LoadedJob]) -> list[tuple[LoadedJob, Reference]]:
    """References that no earlier document of the same submission answers; storage must.

    Raises:
        SpecError: a reference to a document of the wrong kind, or to one that stands later.
    """
    outside: list[tuple[LoadedJob, Reference]] = []
    faults: list[Fault] = []
    for index, one in enumerate(loaded):
        for reference in references(one.job):
            earlier = [other for other in loaded[:index] if answers(other.job, reference)]
            later = [other for other in loaded[index:] if answers(other.job, reference)]
            if later and not earlier:
                message = f"{reference.target} stands later in the file; put it before {one.job.name!r}"
                faults.append(one.fault(reference.key, message))
            elif (
                earlier
                and not is_wanted(earlier[-1].job.kind, reference.wants)
                and reference.target.startswith("run://")
            ):
                found = with_article(earlier[-1].job.kind)
                wanted = with_article(reference.wants)
                message = f"{reference.target} is {found} job; {wanted} job is needed here"
                faults.append(one.fault(reference.key, message))
            elif not earlier:
                outside.append((one, reference))
    if faults:
        raise SpecError(faults)
    return outside


def resolve_best(one: LoadedJob, job: TrainFromBest, best: Training, constraints: Sequence[str] = ()) -> TrainJob:
    """The full job of a document that says `from_best`.

    Raises:
        SpecError: its fields or settings do not fit the best trial's training, each with the document's line.
    """
    try:
        return job.resolve(best, constraints)
    except ValidationError as error:
        raise SpecError(explain(error, one.document, [TrainJob])) from None
    except SpecError as error:
        raise SpecError([_in_settings(one, job.settings, fault) for fault in error.faults]) from None


def job_from_data(data: Any) -> Job:
    """A job from its own JSON, as the cluster receives it."""
    return cast(JobDocument, validate(TypeAdapter(JobDocument), data)).root


def read_text(file: FilePath) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError([Fault(str(file), 0, "", "no such file")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([Fault(str(file), 0, "", f"cannot be read as text: {error}")]) from None


def _one(document: Document) -> Job:
    data = document.data
    if not isinstance(data, dict):
        raise SpecError([Fault(document.file, document.line, "", "a document is a mapping that starts with `kind:`")])
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in PARTS:
        *others, last = KINDS
        message = said_of_kind(kind, PARTS) if "kind" in data else f"missing; say {', '.join(others)} or {last}"
        raise SpecError([Fault(document.file, document.line_of(("kind",)), "kind", message)])
    try:
        return job_from_data(data)
    except ValidationError as error:
        raise SpecError(explain(error, document, PARTS[kind])) from None


def _names_given_twice(loaded: list[LoadedJob]) -> list[Fault]:
    seen: dict[str, LoadedJob] = {}
    faults = []
    for one in loaded:
        first = seen.setdefault(one.job.name, one)
        if first is not one:
            where = f"{first.document.file}:{first.document.line_of(('name',))}"
            faults.append(one.fault("name", f"{one.job.name!r} is taken by {where}; names in one submission differ"))
    return faults


def _from_best_faults(loaded: list[LoadedJob]) -> list[Fault]:
    """`from_best` of a sweep in the same submission: do this document's fields fit the sweep's training?"""
    faults = []
    for index, one in enumerate(loaded):
        if not isinstance(one.job, TrainFromBest):
            continue
        for sweep in loaded[:index]:
            if isinstance(sweep.job, TuneJob) and one.job.from_best == f"run://{sweep.job.name}":
                try:
                    resolve_best(one, one.job, sweep.job.train)
                except SpecError as error:
                    faults += error.faults
    return faults


def _learn_from_faults(loaded: list[LoadedJob]) -> list[Fault]:
    """`learn_from` of a sweep in the same submission whose figures say something else."""
    faults = []
    for index, one in enumerate(loaded):
        for other in loaded[:index]:
            if not isinstance(one.job, TuneJob) or not isinstance(other.job, TuneJob):
                continue
            target = f"run://{other.job.name}"
            if target in one.job.learns_from and (said := unlike(one.job, other.job)):
                faults.append(one.fault("search.learn_from", f"{target}: {said}; leave it out"))
    return faults


def _in_settings(one: LoadedJob, settings: Iterable[str], fault: Fault) -> Fault:
    """A fault of a training at the line of the first setting that can have brought it about."""
    if not fault.key:  # of the training as a whole: its fields and the settings do not go together
        return one.fault("", fault.message)
    guilty = [name for name in settings if fault.key.startswith(name) or name.startswith(fault.key)]
    path = ("settings", guilty[0] if guilty else fault.key)
    return Fault(one.document.file, one.document.line_of(path), ".".join(path), fault.message)


def _data_faults(loaded: list[LoadedJob]) -> list[Fault]:
    """A training that does not fit the data which another document of the submission makes."""
    forms: dict[str, DataForm] = {}
    faults = []
    for one in loaded:
        made = _form_made_by(one.job, forms)
        if made is not None:
            forms[f"run://{one.job.name}"] = made
        for data in data_sets(one.job):
            faults += misfits_with(one, data, forms[data]) if data in forms else []
    return faults


def _form_made_by(job: Job, forms: Mapping[str, DataForm]) -> DataForm | None:
    """The form of the data that a job makes, as far as documents before it tell."""
    match job:
        case PrepareJob():
            return form_of(job)
        case ReferenceJob(data=data) if data in forms:
            return replace(forms[data], has_reference=True)
        case _:
            return None


def data_sets(job: Job) -> tuple[str, ...]:
    """References to the data that a job's trainings read; empty where it has none, or a sweep's best says them."""
    if isinstance(job, TuneJob):
        return job.data_sets
    return (job.data,) if isinstance(job, TrainJob | ReferenceJob) else ()


def misfits_with(one: LoadedJob, data: str, form: DataForm) -> list[Fault]:
    """Every way in which a document's training does not fit one of its data sets."""
    job = one.job
    if isinstance(job, TuneJob) and data != job.train.data:
        return [one.fault("space.data", f"{data}: {key}: {said}") for key, said in misfits(job.train, form)]
    if isinstance(job, ReferenceJob):
        return [one.fault(key, said) for key, said in reference_misfits(job.training, form)]
    training, inside = (job.train, "train.") if isinstance(job, TuneJob) else (job, "")
    assert isinstance(training, Training)
    return [one.fault(inside + key, said) for key, said in misfits(training, form)]


def answers(job: Job, reference: Reference) -> bool:
    """Whether what a job makes is what a reference of another document names."""
    if reference.run_name is not None:
        return job.name == reference.run_name
    return reference.target in versions_made(job)
