"""Models and tokenizers that are there already: a directory, an s3:// address, or a name on the hub.

Safetensors only, and no code of theirs is ever run. One clear line where they cannot be used.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig
from transformers.utils import cached_file

from trainshed.errors import PlatformError
from trainshed.record.storage import Storage
from trainshed.runtime.encoding import GENERATION_CONFIG
from trainshed.runtime.scratch import scratch_of_process
from trainshed.spec.document.locations import is_address, is_directory
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.models.folder import check_sizes, folder_config, read_json

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
LOAD_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    StrictDataclassError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What transformers raises over files that somebody else wrote: a wrong type in a config.json surfaces anywhere."""


@lru_cache
def located(place: str) -> str:
    """A directory on this machine, or the hub name as it is.

    Raises:
        PlatformError: there is no such directory.
    """
    if is_address(place):
        return str(Storage.open(place).download("", scratch_of_process("model")))
    if is_directory(place) and not Path(place).is_dir():
        raise PlatformError(f"{place}: no such directory on this node; the cluster must be able to read it")
    return place


def save_tokenizer(place: str, folder: Path) -> None:
    """Writes the tokenizer of an existing model to `folder`, as tokenizer.json.

    Raises:
        PlatformError: there is none, or it has no fast form.
    """
    opened = _tokenizer(located(place), None)
    if opened is None:
        raise PlatformError(f"{place}: no tokenizer there; one of {', '.join(TOKENIZER_FILES)} is needed")
    opened.save_pretrained(str(folder))
    _keep_generation_config(located(place), folder)
    if not (folder / "tokenizer.json").is_file():
        raise PlatformError(f"{place}: its tokenizer has no tokenizer.json form")


def _keep_generation_config(place: str, folder: Path) -> None:
    """Keeps the file that says which tokens end an answer: it stands beside the weights, and belongs to the texts.

    Raises:
        PlatformError: it is there and cannot be read.
    """
    try:
        found = cached_file(
            place,
            GENERATION_CONFIG,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except LOAD_ERRORS as error:
        raise PlatformError(f"{place}: {GENERATION_CONFIG}: {first_line(error)}") from error
    if found is not None:
        (folder / GENERATION_CONFIG).write_text(json.dumps(read_json(Path(found)), indent=2) + "\n")


def read_config(spec: Pretrained, **changes: Any) -> PreTrainedConfig:
    """The configuration of a pretrained model with some fields changed.

    Raises:
        PlatformError: there is none that transformers knows.
    """
    place = located(spec.name_or_path)
    if is_directory(place):
        folder_config(Path(place))
    try:
        config = AutoConfig.from_pretrained(place, revision=spec.revision or "main", trust_remote_code=False, **changes)
    except LOAD_ERRORS as error:
        raise PlatformError(f"model.name_or_path: {spec.name_or_path}: {first_line(error)}") from error
    check_sizes(f"{spec.name_or_path}: config.json", config.to_dict())
    return config


def tokenizer_of(spec: Pretrained) -> Any:
    """The tokenizer of a pretrained model; None where it has none.

    Raises:
        PlatformError: it cannot be read.
    """
    return _tokenizer(located(spec.name_or_path), spec.revision)


def first_line(error: Exception) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _tokenizer(place: str, revision: str | None) -> Any:
    """None where there is none. (transformers would return one of a single token and say nothing.)"""
    if is_directory(place) and not any((Path(place) / name).is_file() for name in TOKENIZER_FILES):
        return None
    try:
        return AutoTokenizer.from_pretrained(place, revision=revision or "main", trust_remote_code=False)
    except LOAD_ERRORS as error:
        raise PlatformError(f"{place}: the tokenizer cannot be read: {first_line(error)}") from error
