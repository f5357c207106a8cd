"""What only this machine and storage can find out before anything is handed over: references, files, memory.

Knows job files and storage; no HTTP, so that a refusal costs little.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trainshed.errors import Fault, SpecError, UsageError
from trainshed.record.registry import resolve
from trainshed.record.run import find_finished
from trainshed.record.storage import Storage
from trainshed.spec.job import Job
from trainshed.spec.load import LoadedJob, outside_references
from trainshed.spec.models import DataSizes
from trainshed.spec.plan import Plan, plan, refuse_what_cannot_fit, resolved
from trainshed.spec.prepare import PrepareJob
from trainshed.spec.train import TrainFromBest, Training, TrainJob
from trainshed.spec.tune import TuneJob

STDLIB = "python-stdlib"


def check(loaded: Sequence[LoadedJob], storage: Storage) -> None:
    """Everything that can be found out without a cluster: references into storage, files of sources.

    Raises:
        SpecError: every fault found.
    """
    faults: list[Fault] = []
    for one, reference in outside_references(loaded):
        try:
            if reference.target.startswith("run://"):
                find_finished(storage, reference.target, reference.wants)
            else:
                resolve(storage, reference.target)
        except UsageError as error:
            faults.append(one.fault(reference.key, str(error)))
    for one in loaded:
        if isinstance(one.job, PrepareJob) and is_relative(one.job.source.path) and not source_files(one):
            message = f"no file matches {one.job.source.path!r}; a relative path starts at {root_of(one)}"
            faults.append(one.fault("source.path", message))
    if faults:
        raise SpecError(faults)


def plans(
    loaded: Sequence[LoadedJob], storage: Storage, *, machine_bytes: int | None = None
) -> tuple[list[LoadedJob], list[Plan]]:
    """The jobs with numbers in place of every `auto`, and the arithmetic of every training among them.

    Raises:
        PlanError: one cannot fit, or says `auto` where the plan cannot know.
    """
    settled: list[LoadedJob] = []
    made: list[Plan] = []
    for one in loaded:
        training = _training(one, loaded, storage)
        if training is None:
            settled.append(one)
            continue
        own = plan(one.job.name, training, _data_sizes(training.data, loaded, storage), machine_bytes=machine_bytes)
        refuse_what_cannot_fit(own, training)
        made.append(own)
        settled.append(_settled(one, resolved(training, own.chosen)))
    return settled, made


def _settled(one: LoadedJob, training: Training) -> LoadedJob:
    """The document with what the plan has chosen; the same one where it says no `auto`."""
    job = one.job
    match job:
        case TuneJob():
            done: Job = job.model_copy(update={"train": training})
        case TrainJob():
            done = job.model_copy(update={"engine": training.engine, "workers": training.workers})
        case TrainFromBest():
            own = {key for key in ("engine", "workers") if getattr(job, key) is not None}
            done = job.model_copy(update={key: getattr(training, key) for key in own})
        case _:
            return one
    return one if done == job else replace(one, job=done, asked=job)


def source_files(one: LoadedJob) -> list[Path]:
    """The files on this machine that a prepare job's source means; empty where nothing matches."""
    if not isinstance(one.job, PrepareJob):
        return []
    pattern = root_of(one) / one.job.source.path
    if pattern.is_dir():
        pattern = pattern / "**" / ("*.jsonl" if one.job.source.kind == "jsonl" else "*")
    found = (Path(name) for name in glob.glob(str(pattern), recursive=True))
    return sorted(path for path in found if path.is_file())


def is_relative(path: str) -> bool:
    """Whether a source is found from the job file's folder, and so is uploaded."""
    return path != STDLIB and "://" not in path and not path.startswith("/")


def root_of(one: LoadedJob) -> Path:
    """The folder that relative paths of a document start at."""
    return Path(one.document.file).resolve().parent


def _training(one: LoadedJob, loaded: Sequence[LoadedJob], storage: Storage) -> Training | None:
    match one.job:
        case TuneJob():
            return one.job.train
        case TrainJob():
            return one.job.training
        case TrainFromBest():
            name = one.job.from_best.removeprefix("run://")
            for other in loaded:
                if isinstance(other.job, TuneJob) and other.job.name == name:
                    return one.job.resolve(other.job.train).training
            best = (find_finished(storage, one.job.from_best, "tune").result or {})["best"]["training"]
            return one.job.resolve(Training.model_validate(best)).training
        case _:
            return None


def _data_sizes(reference: str, loaded: Sequence[LoadedJob], storage: Storage) -> DataSizes:
    """Vocabulary and block size of the data, from the document that makes it or the run that made it."""
    name = reference.removeprefix("run://")
    for other in loaded:
        if isinstance(other.job, PrepareJob) and other.job.name == name:
            return DataSizes(other.job.tokenizer.vocab_size, other.job.pack.block_size)
    manifest = (find_finished(storage, reference, "prepare").result or {})["manifest"]
    return DataSizes(int(manifest["vocab_size"]), int(manifest["block_size"]))
