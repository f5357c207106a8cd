"""What of this machine goes up with a job: the files of its sources and the module of a custom task.

Knows job files and this disk; no HTTP. What is missing or does not hold what the job names is found here.
"""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from trainshed.client.first_rows import first_fault
from trainshed.errors import Fault, SpecError
from trainshed.record.finding import LocalDisk
from trainshed.spec.data.matching import Chosen, choose
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.data.rows import BadRow, header
from trainshed.spec.data.sources import STDLIB, Csv, Images, Source, places
from trainshed.spec.document.walk import nearest
from trainshed.spec.job import training_of
from trainshed.spec.load import LoadedJob
from trainshed.spec.training.grpo import Grpo
from trainshed.spec.training.tasks import Custom

MAX_UPLOAD_BYTES = 64 * 10**6
ASKED = ("prompt", "answer", "expected")
"""What a reward function is called with, by name."""


@dataclass(frozen=True)
class Uploads:
    """Files by their name in the package, and the job as the cluster shall read it."""

    files: dict[str, Path]
    job: dict[str, JsonValue]


def uploads(one: LoadedJob) -> Uploads:
    """The files that go up with a job; its relative places then name what the cluster unpacks.

    Raises:
        SpecError: more than 64 MB would go up.
    """
    job = one.job.model_dump(mode="json", by_alias=True, exclude_none=True)
    files: dict[str, Path] = {}
    if isinstance(one.job, PrepareJob):
        for key, place in places(one.job.source).items():
            if is_relative(place):
                folder = f"source/{one.job.name}/{key}"
                named = _named(one.job.source, chosen_files(one, key))
                files |= {f"{folder}/{name}": path for name, path in named.items()}
                job["source"][key] = f"{folder}/*/*" if isinstance(one.job.source, Images) else f"{folder}/*"
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
    faults = _source_faults(one, one.job) if isinstance(one.job, PrepareJob) else []
    module = custom_module(one)
    code = _own_code(one)
    if module is not None and code is not None:
        faults += _module_faults(one, module, code)
    return faults


def left_behind(one: LoadedJob) -> list[str]:
    """What lies in the folders of a job's source and does not go up, a line for each folder."""
    if not isinstance(one.job, PrepareJob):
        return []
    chosen = {key: chosen_files(one, key) for key, place in places(one.job.source).items() if is_relative(place)}
    return [f"{one.job.name}: source.{key}: {found}" for key, found in chosen.items() if found.left_out]


def chosen_files(one: LoadedJob, key: str = "path") -> Chosen:
    """The files on this machine that a place of a prepare job's source means; none where nothing matches."""
    if not isinstance(one.job, PrepareJob) or key not in places(one.job.source):
        return Chosen(())
    place = os.path.normpath(root_of(one) / places(one.job.source)[key])
    return choose(one.job.source, place, LocalDisk())


def custom_module(one: LoadedJob) -> Path | None:
    """Where the module of a custom task or a reward must lie; None where the job has no code of the user's own."""
    code = _own_code(one)
    return root_of(one) / f"{code.module}.py" if code is not None else None


def is_relative(path: str) -> bool:
    """Whether a source is found from the job file's folder, and so is uploaded."""
    return path != STDLIB and "://" not in path and not path.startswith("/")


def root_of(one: LoadedJob) -> Path:
    """The folder that relative paths of a document start at."""
    return Path(one.document.file).resolve().parent


@dataclass(frozen=True)
class _OwnCode:
    """A class or a function of the user's own, and the key that names it."""

    key: str
    module: str
    name: str
    what: Literal["class", "function"]


def _own_code(one: LoadedJob) -> _OwnCode | None:
    training, inside = training_of(one.job) or (None, "")
    match None if training is None else training.task:
        case Custom() as task:
            return _OwnCode(f"{inside}task.path", task.module, task.class_name, "class")
        case Grpo() as task:
            return _OwnCode(f"{inside}task.reward", task.module, task.function, "function")
        case _:
            return None


def _named(source: Source, chosen: Chosen) -> dict[str, Path]:
    """Names in the package: a number keeps the order, the suffix the kind, an image's folder its class."""
    named = {}
    for number, file in enumerate(chosen.files):
        folder = f"{chosen.class_of(file)}/" if isinstance(source, Images) else ""
        named[f"{folder}{number:06d}-{Path(file).name}"] = Path(file)
    return named


def _source_faults(one: LoadedJob, job: PrepareJob) -> list[Fault]:
    """Places where nothing is; where all are there, the first file that cannot be read or lacks a column."""
    missing = []
    later = []
    for key, place in places(job.source).items():
        if not is_relative(place):
            continue
        try:
            chosen = chosen_files(one, key)
            if not chosen.files:
                beside = f"; it holds {chosen}" if chosen.left_out else ""
                message = f"no file matches {place!r}{beside}; a relative path starts at {root_of(one)}"
                missing.append(one.fault(f"source.{key}", message))
            later += _column_faults(one, job, key, chosen) or _row_faults(one, job, key, chosen)
        except OSError as error:
            missing.append(one.fault(f"source.{key}", f"{place!r} cannot be read: {error}"))
    return missing or later[:1]


def _column_faults(one: LoadedJob, job: PrepareJob, key: str, chosen: Chosen) -> list[Fault]:
    """The first csv file of a place whose header line cannot be read or lacks a column."""
    source = job.source
    if not isinstance(source, Csv) or source.columns is not None:
        return []
    for file in map(Path, chosen.files):
        if file.stat().st_size > MAX_UPLOAD_BYTES:
            continue  # it does not go up, whatever its columns
        found = header(source, file.read_bytes(), file.name)
        if isinstance(found, BadRow):
            return [one.fault(f"source.{key}", str(found))]
        for what, field in job.read_fields.items():
            if field not in found:
                named = f"examples.{what}" if job.examples is not None else "source.field"
                hint = nearest(field, found) if found else "the file is empty"
                message = f"{file.name} has no column {field!r}; {hint}; or name them with `source.columns`"
                return [one.fault(named, message)]
    return []


def _row_faults(one: LoadedJob, job: PrepareJob, key: str, chosen: Chosen) -> list[Fault]:
    """The first row that is not what the job's format says."""
    said = first_fault(job, [Path(file) for file in chosen.files if os.path.getsize(file) <= MAX_UPLOAD_BYTES])
    return [one.fault(f"source.{key}", said)] if said else []


def _module_faults(one: LoadedJob, module: Path, code: _OwnCode) -> list[Fault]:
    if not module.is_file():
        message = f"no {module.name} beside the job file, in {module.parent}; it is uploaded from there"
        return [one.fault(code.key, message)]
    try:
        tree = ast.parse(module.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        return [one.fault(code.key, f"{module.name} cannot be read as Python: {error}")]
    wanted = ast.ClassDef if code.what == "class" else ast.FunctionDef
    there = {node.name: node for node in tree.body if isinstance(node, wanted)}
    if code.name not in there:
        hint = nearest(code.name, there) if there else f"it defines no {code.what}"
        return [one.fault(code.key, f"{module.name} has no {code.what} {code.name!r}; {hint}")]
    found = there[code.name]
    if isinstance(found, ast.FunctionDef) and (lacking := _lacking(found.args)):
        message = (
            f"{code.name} in {module.name} takes no {' and no '.join(lacking)}; it is called with {', '.join(ASKED)}"
        )
        return [one.fault(code.key, message)]
    return []


def _lacking(arguments: ast.arguments) -> list[str]:
    """What a reward function is called with and does not take."""
    named = {one.arg for one in (*arguments.args, *arguments.kwonlyargs)}
    return [] if arguments.kwarg is not None else [name for name in ASKED if name not in named]
