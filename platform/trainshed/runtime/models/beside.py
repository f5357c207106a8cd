"""What lies beside the weights of an existing model, and goes out again with what is made of it.

Generation settings, chat template, processors, the tokenizer's other files, licences. A stranger may have written them:
they are read before the first step, as bytes that are bounded and parsed, and nothing of them is ever run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from huggingface_hub import snapshot_download

from trainshed.errors import PlatformError
from trainshed.runtime.models.locate import LOAD_ERRORS, first_line, located
from trainshed.spec.document.locations import is_directory
from trainshed.spec.training.models import Pretrained

MOST_BYTES = 50_000_000
MOST_BYTES_IN_ALL = 150_000_000
MOST_FILES = 100
NAME = re.compile(r"[\w][\w.-]{0,199}", re.ASCII)
LICENCES = re.compile(r"(licen[sc]e|notice|use_policy)[\w.-]{0,40}", re.ASCII | re.IGNORECASE)
SENTENCE_PIECES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
VOCABULARIES = ("merges.txt", "vocab.txt")
PROTOBUF = b"\n"
"""The first byte of a sentencepiece model: no pickle and no archive begins so."""
MADE_ANEW = re.compile(r"config\.json|manifest\.json|tokenizer\.json|tokenizer_config\.json|adapter_.*|.*\.index\.json")
"""What an export writes itself, with what training has made of it."""
OF_A_TRAINING = ("trainer_state.json", "all_results.json", "train_results.json", "eval_results.json")
"""What other trainers leave of their own run."""
WANTED_OF_HUB = ("*.json", "*.jinja", "*.txt", "*.model", "LICEN*", "NOTICE*", "USE_POLICY*")


def files_beside(spec: Pretrained) -> Mapping[str, bytes]:
    """The files to carry over, by name; without folders inside.

    Raises:
        PlatformError: one leads out of the folder, is too large, or is not what its name says.
    """
    folder = folder_of(spec)
    paths = [path for path in sorted(folder.iterdir()) if path.is_file() and _is_carried(path.name)]
    if len(paths) > MOST_FILES:
        raise PlatformError(f"{spec.name_or_path}: {len(paths)} files lie beside the weights; no model has that many")
    found: dict[str, bytes] = {}
    for path in paths:
        found[path.name] = _read(path, folder, f"{spec.name_or_path}: {path.name}")
        if sum(map(len, found.values())) > MOST_BYTES_IN_ALL:
            most = MOST_BYTES_IN_ALL // 10**6
            raise PlatformError(f"{spec.name_or_path}: over {most} MB lie beside the weights; no model has that much")
    return found


def folder_of(spec: Pretrained) -> Path:
    """The model's folder on this machine; of a hub name the small files are fetched, and those that were already.

    Raises:
        PlatformError: it cannot be had.
    """
    place = located(spec.name_or_path)
    if is_directory(place):
        return Path(place)
    try:
        return _of_hub(place, spec.revision or "main")
    except LOAD_ERRORS as error:
        raise PlatformError(f"{spec.name_or_path}: its files cannot be fetched: {first_line(error)}") from error


@lru_cache
def _of_hub(name: str, revision: str) -> Path:
    found = snapshot_download(name, revision=revision, allow_patterns=list(WANTED_OF_HUB), ignore_patterns=["*/*"])
    return Path(found)


def _is_carried(name: str) -> bool:
    if not NAME.fullmatch(name) or MADE_ANEW.fullmatch(name) or name in OF_A_TRAINING:
        return False
    known = name in SENTENCE_PIECES or name in VOCABULARIES or LICENCES.fullmatch(name)
    return bool(known) or name.endswith((".json", ".jinja"))


def _read(path: Path, folder: Path, said: str) -> bytes:
    """The bytes of one file, if they are what its name says."""
    if not path.resolve().is_relative_to(_root(folder)):
        raise PlatformError(f"{said}: a link that leads out of the model's folder; put the file itself there")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise PlatformError(f"{said}: over {MOST_BYTES // 10**6} MB; that is no description of a model")
        content = path.read_bytes()
    except OSError as error:
        raise PlatformError(f"{said}: cannot be read: {error}") from error
    if path.name.endswith(".json"):
        try:
            json.loads(content)
        except (ValueError, RecursionError) as error:
            raise PlatformError(f"{said}: cannot be read as JSON: {error}") from None
    elif path.name in SENTENCE_PIECES:
        if not content.startswith(PROTOBUF):
            raise PlatformError(f"{said}: no sentencepiece model; fetch it again, or take it out")
    elif b"\0" in content:
        raise PlatformError(f"{said}: holds bytes that are no text; fetch it again, or take it out")
    return content


def _root(folder: Path) -> Path:
    """Where links may lead: the hub's cache keeps a model's files apart, two folders up, and links to them."""
    real = folder.resolve()
    is_snapshot = real.parent.name == "snapshots" and real.parent.parent.name.startswith("models--")
    return real.parent.parent if is_snapshot else real
