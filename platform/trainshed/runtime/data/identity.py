"""What makes prepared data what it is, by content: the job, the bytes that it reads, and the libraries that read them.

Whatever can change a token or a pixel is here. Names and places are not: the same bytes elsewhere give the same data.
"""

from __future__ import annotations

import unicodedata
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trainshed.errors import PlatformError
from trainshed.record.hashes import sha256_of
from trainshed.record.lineage import fingerprint
from trainshed.record.storage import Storage
from trainshed.runtime.data.found import Found, hash_files
from trainshed.spec.data.prepare import Builtin, Clean, Images, PrepareJob, PretrainedTokenizer
from trainshed.spec.document.locations import is_address, is_directory

FORMAT = 5
"""Raised when the same job on the same bytes would give other shards."""

OF_A_TOKENIZER = (
    "added_tokens.json",
    "chat_template.*",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "*.model",
    "*.tiktoken",
    "tokenizer*",
    "vocab*",
)
"""Files of a model's folder that its tokenizer is read from; config.json says of which class it is, and
generation_config.json which tokens end an answer."""


def key_of(job: PrepareJob, found: Found) -> str:
    """The name of the data's folder: equal where nothing differs that could change it.

    Raises:
        PlatformError: an existing tokenizer cannot be read.
    """
    return fingerprint(
        {
            "format": FORMAT,
            "job": what_matters(job),
            "files": _files(found),
            "tokenizer": _tokenizer(job),
            "libraries": libraries_of(job),
        }
    )[:32]


def what_matters(job: PrepareJob) -> dict[str, Any]:
    """The job without what does not change its output: its name, and where files lie."""
    places = {"path", "validation", "test"}
    said = job.model_dump(mode="json", exclude={"name": True, "source": places})
    if isinstance(job.tokenizer, PretrainedTokenizer):
        said["tokenizer"].pop("name_or_path")  # its files are in the key themselves
    return said


def libraries_of(job: PrepareJob) -> dict[str, str]:
    """The versions of what tokenises, normalises and decodes in this job."""
    names = []
    if job.tokenizer is not None:
        names.append("tokenizers")
    if isinstance(job.tokenizer, PretrainedTokenizer):
        names.append("transformers")
    if isinstance(job.source, Images):
        names += ["pillow", "numpy"]
    if isinstance(job.source, Builtin) and job.source.name == "digits":
        names.append("scikit-learn")
    found = {name: version(name) for name in names}
    if any(isinstance(step, Clean) for step in job.steps):
        found["unicode"] = unicodedata.unidata_version
    return found


def tokenizer_files(place: str) -> dict[str, str]:
    """SHA-256 of every file that an existing tokenizer is read from, by name.

    Raises:
        PlatformError: there is no such folder, or the hub does not answer.
    """
    storage = Storage.open(place if is_address(place) or is_directory(place) else _from_hub(place))
    try:
        names = [name for name in storage.names("") if any(fnmatch(name, pattern) for pattern in OF_A_TOKENIZER)]
        return {name: sha256_of(storage.fs, storage.path(name)) for name in names}
    except OSError as error:
        raise PlatformError(f"tokenizer.name_or_path: {place}: {error}") from None


def _from_hub(name: str) -> Path:
    """The tokenizer's files of a model on the hub, as they are now."""
    from huggingface_hub import snapshot_download  # for the few jobs whose tokenizer lies there

    try:
        return Path(snapshot_download(name, allow_patterns=list(OF_A_TOKENIZER)))
    except Exception as error:  # the hub's errors have no class of their own in common
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise PlatformError(f"tokenizer.name_or_path: {name}: cannot be fetched from the hub: {reason}") from None


def _tokenizer(job: PrepareJob) -> dict[str, str]:
    if not isinstance(job.tokenizer, PretrainedTokenizer):
        return {}
    return tokenizer_files(job.tokenizer.name_or_path)


def _files(found: Found) -> list[list[str]]:
    """What a file adds to the data: its content, its split, and an image's class, whatever it is called."""
    classes = [found.classes.get(path, "") for path in found.files]
    return [list(one) for one in zip(hash_files(found), found.splits.values(), classes, strict=True)]
