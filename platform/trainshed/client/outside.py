"""What a job names outside itself and that surely cannot work: addresses, this machine's files, chat templates.

Knows job files and this disk; sends nothing. What only the cluster can see is left to it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from trainshed.client.first_rows import first_fault
from trainshed.client.given_files import lacks_template, template_in
from trainshed.client.uploads import chosen_files, is_relative, root_of
from trainshed.errors import Fault, UsageError
from trainshed.spec.data.prepare import Characters, PrepareJob, PretrainedTokenizer, TrainBpe
from trainshed.spec.data.sources import STDLIB, places
from trainshed.spec.data.tokenizers import template_of
from trainshed.spec.document.locations import is_reference
from trainshed.spec.document.walk import nearest
from trainshed.spec.job import training_of
from trainshed.spec.load import LoadedJob
from trainshed.spec.training.train import Training

SCHEMES = ("abfs", "abfss", "file", "gcs", "gs", "hdfs", "hf", "s3")
"""What pyarrow opens."""
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def outside_faults(one: LoadedJob, *, local: bool) -> list[Fault]:
    """Everything that is surely wrong; `local`: the cluster is this machine, so its absolute paths are ours."""
    found = [*_source_faults(one, local=local), *_model_faults(one, local=local)]
    if isinstance(one.job, PrepareJob) and isinstance(one.job.tokenizer, TrainBpe | Characters):
        why = template_fault(template_of(one.job.tokenizer) or "")
        found += [("tokenizer.chat_template", why)] if why else []
    return [one.fault(key, message) for key, message in found]


def address_fault(place: str) -> str | None:
    """Why no machine can open a place, or None."""
    if CONTROL.search(place):
        return f"{place!r} holds a control character; no file has such a name"
    if place.startswith("~"):
        return f"{place!r}: `~` is a shell's word and is not expanded; write {os.path.expanduser(place)!r}"
    scheme, separator, rest = place.partition("://")
    if separator and scheme not in SCHEMES:
        return f"{place!r}: nothing opens {scheme!r}; {nearest(scheme, SCHEMES)}"
    return f"{place!r} names nothing behind {scheme}://" if separator and not rest.strip("/") else None


def template_fault(template: str) -> str | None:
    """Why a chat template does not parse, with its own line, or None; nothing of it is run."""
    if not template:
        return None
    from jinja2 import Environment, TemplateSyntaxError, nodes  # a job without a template does not pay for them
    from jinja2.ext import Extension
    from jinja2.parser import Parser

    class Generation(Extension):
        """The block that transformers' templates mark an answer with."""

        tags = {"generation"}  # noqa: RUF012 - jinja's own shape

        def parse(self, parser: Parser) -> list[nodes.Node]:
            """The statements inside."""
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    try:
        Environment(extensions=["jinja2.ext.loopcontrols", Generation], autoescape=False).parse(template)  # noqa: S701
    except TemplateSyntaxError as error:
        return f"does not parse: {error.message} (line {error.lineno} of the template)"
    return None


def _source_faults(one: LoadedJob, *, local: bool) -> Iterator[tuple[str, str]]:
    if not isinstance(one.job, PrepareJob):
        return
    for key, place in places(one.job.source).items():
        if why := address_fault(place):
            yield f"source.{key}", why
        elif place != STDLIB and "://" not in place and (local or is_relative(place)):
            yield from ((f"source.{key}", why) for why in _disk_faults(one, key, place))


def _disk_faults(one: LoadedJob, key: str, place: str) -> Iterator[str]:
    """What is wrong with a place on this machine's disk."""
    path = Path(os.path.normpath(root_of(one) / place))
    try:
        kind = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        kind = None  # a pattern, or a relative path, which `upload_faults` misses
    except OSError as error:
        yield f"{place!r} cannot be opened: {error.strerror}"
        return
    if kind is not None and not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        yield f"{place!r} is {_what(kind)}; a source is files, a folder of them or a pattern"
        return
    chosen = chosen_files(one, key)
    if not chosen.files and not is_relative(place):
        beside = f"; it holds {chosen}" if chosen.left_out else ""
        yield f"no file matches {place!r} on this machine, which is the cluster{beside}"
    elif chosen.files and not any(os.path.getsize(file) for file in chosen.files):
        many = "the file is" if len(chosen.files) == 1 else f"all {len(chosen.files)} files are"
        yield f"{place!r}: {many} empty"
    elif not is_relative(place) and isinstance(one.job, PrepareJob):  # `upload_faults` looks into the others
        said = first_fault(one.job, [Path(file) for file in chosen.files])
        yield from [said] if said else []


def _what(kind: int) -> str:
    names = (
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((name for is_one, name in names if is_one(kind)), "no file")


def _model_faults(one: LoadedJob, *, local: bool) -> Iterator[tuple[str, str]]:
    """Folders of existing models and tokenizers."""
    for key, place in _folders(one):
        if why := address_fault(place):
            yield key, why
        elif local and place.startswith("/") and not os.path.isdir(place):
            what = "is not there" if not os.path.exists(place) else "is no folder"
            yield key, f"{place!r} {what} on this machine, which is the cluster"
        elif isinstance(one.job, PrepareJob) and place.startswith("/") and os.path.isdir(place):
            yield from _template_faults(one.job, Path(place))


def _template_faults(job: PrepareJob, folder: Path) -> Iterator[tuple[str, str]]:
    """A tokenizer of this machine without a chat template for conversations, or with one that does not parse."""
    key = "tokenizer.name_or_path"
    try:
        if lacks_template(job, folder):
            yield (
                key,
                f"{folder} has no chat template, and format {job.format} makes conversations; add one to its files",
            )
        elif why := template_fault(template_in(folder) or ""):
            yield key, f"{folder}: its chat template {why}"
    except UsageError as error:
        yield key, str(error)


def _folders(one: LoadedJob) -> Iterator[tuple[str, str]]:
    if isinstance(one.job, PrepareJob) and isinstance(one.job.tokenizer, PretrainedTokenizer):
        yield "tokenizer.name_or_path", one.job.tokenizer.name_or_path
    training, inside = training_of(one.job) or (None, "")
    place = getattr(training.model, "name_or_path", None) if isinstance(training, Training) else None
    if place is not None and not is_reference(place):
        yield f"{inside}model.name_or_path", place
