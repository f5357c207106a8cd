"""What of this machine goes up with a job: the files of its sources and the module of a custom task.

Knows job files and this disk; no HTTP. What is missing or does not hold what the job names is found here.
"""

from __future__ import annotations

import ast
import csv
import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainshed.errors import Fault, SpecError
from trainshed.spec.load import LoadedJob
from trainshed.spec.prepare import PrepareJob
from trainshed.spec.sources import STDLIB, Csv, Images, Source, pattern_below, places
from trainshed.spec.tasks import Custom
from trainshed.spec.train import Training
from trainshed.spec.tune import TuneJob
from trainshed.spec.walk import nearest

MAX_UPLOAD_BYTES = 64 * 10**6


@dataclass(frozen=True)
class Uploads:
    """Files by their name in the package, and the job as the cluster shall read it."""

    files: dict[str, Path]
    job: dict[str, Any]


def uploads(one: LoadedJob) -> Uploads:
    """The files that go up with a job; its relative places then name what the cluster unpacks.

    Raises:
        SpecError: more than 64 MB would go up.
    """
    job: dict[str, Any] = one.job.model_dump(mode="json", by_alias=True, exclude_none=True)
    files: dict[str, Path] = {}
    if isinstance(one.job, PrepareJob):
        for key, place in places(one.job.source).items():
            if is_relative(place):
                folder = f"source/{one.job.name}/{key}"
                named = _named(one.job.source, source_files(one, key))
                files |= {f"{folder}/{name}": path for name, path in named.items()}
                job["source"][key] = (
                    f"{folder}/**/{pattern_below(one.job.source)}" if _is_tree(one.job) else f"{folder}/*"
                )
    module = custom_module(one)
    if module is not None:
        files[module.name] = module
    size = sum(path.stat().st_size for path in files.values())
    if size > MAX_UPLOAD_BYTES:
        message = (
            f"{size / 1e6:.0f} MB would be uploaded with the job, at most {MAX_UPLOAD_BYTES / 1e6:.0f} MB are; "
            "put the files where the cluster reads them and give an absolute path or URI"
        )
        raise SpecError([one.fault("source.path", message)])
    return Uploads(files, job)


def upload_faults(one: LoadedJob) -> list[Fault]:
    """Files that are not there, fields that the files do not have, a custom task whose module or class is missing."""
    faults = []
    if isinstance(one.job, PrepareJob):
        for key, place in places(one.job.source).items():
            if is_relative(place) and not source_files(one, key):
                message = f"no file matches {place!r}; a relative path starts at {root_of(one)}"
                faults.append(one.fault(f"source.{key}", message))
        faults = faults or _column_faults(one, one.job)
    module, task = custom_module(one), _custom(one)
    if module is not None and task is not None:
        faults += _module_faults(one, module, task)
    return faults


def source_files(one: LoadedJob, key: str = "path") -> list[Path]:
    """The files on this machine that a place of a prepare job's source means; empty where nothing matches."""
    if not isinstance(one.job, PrepareJob) or key not in places(one.job.source):
        return []
    pattern = root_of(one) / places(one.job.source)[key]
    if pattern.is_dir():
        pattern = pattern / "**" / pattern_below(one.job.source)
    found = (Path(name) for name in glob.glob(str(pattern), recursive=True))
    return sorted(path for path in found if path.is_file())


def custom_module(one: LoadedJob) -> Path | None:
    """Where the module of a custom task must lie; None where the job has no custom task."""
    task = _custom(one)
    return root_of(one) / f"{task.module}.py" if task is not None else None


def is_relative(path: str) -> bool:
    """Whether a source is found from the job file's folder, and so is uploaded."""
    return path != STDLIB and "://" not in path and not path.startswith("/")


def root_of(one: LoadedJob) -> Path:
    """The folder that relative paths of a document start at."""
    return Path(one.document.file).resolve().parent


def _custom(one: LoadedJob) -> Custom | None:
    training = one.job.train if isinstance(one.job, TuneJob) else one.job
    return training.task if isinstance(training, Training) and isinstance(training.task, Custom) else None


def _is_tree(job: PrepareJob) -> bool:
    return isinstance(job.source, Images)


def _named(source: Source, files: list[Path]) -> dict[str, Path]:
    """Names in the package: a number keeps the order, the suffix the kind, an image's folder its class."""
    if isinstance(source, Images):
        return {f"{path.parent.name}/{number:06d}-{path.name}": path for number, path in enumerate(files)}
    return {f"{number:06d}-{path.name}": path for number, path in enumerate(files)}


def _column_faults(one: LoadedJob, job: PrepareJob) -> list[Fault]:
    """Columns that the header lines of the csv files on this machine do not have."""
    source = job.source
    if not isinstance(source, Csv) or source.columns is not None:
        return []
    for key in places(source):
        for file in source_files(one, key) if is_relative(places(source)[key]) else []:
            with file.open(encoding="utf-8", errors="replace", newline="") as stream:
                header = next(csv.reader(stream, delimiter=source.delimiter), [])
            for what, field in job.read_fields.items():
                if field not in header:
                    place = f"examples.{what}" if job.examples is not None else "source.field"
                    hint = nearest(field, header) if header else "the file is empty"
                    message = f"{file.name} has no column {field!r}; {hint}; or name them with `source.columns`"
                    return [one.fault(place, message)]
    return []


def _module_faults(one: LoadedJob, module: Path, task: Custom) -> list[Fault]:
    key = "train.task.path" if isinstance(one.job, TuneJob) else "task.path"
    if not module.is_file():
        return [one.fault(key, f"no {module.name} beside the job file, in {module.parent}; it is uploaded from there")]
    try:
        tree = ast.parse(module.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        return [one.fault(key, f"{module.name} cannot be read as Python: {error}")]
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    if task.class_name in classes:
        return []
    hint = nearest(task.class_name, classes) if classes else "it defines no class"
    return [one.fault(key, f"{module.name} has no class {task.class_name!r}; {hint}")]
