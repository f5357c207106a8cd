"""A Hugging Face folder on this machine, by its config.json and the headers of its weights; no weight is read.

A stranger may have written it: names in it must stay in the folder, and everything is parsed into a type. Knows JSON
and the layout of safetensors (https://huggingface.co/docs/safetensors): 8 bytes of length, then JSON.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trainshed.errors import UsageError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
HEADER_LENGTH_BYTES = 8
MAX_JSON_BYTES = 100_000_000
MOST_DIMENSIONS = 8
LARGEST_DIMENSION = 10**10
MOST_LAYERS = 10_000
LARGEST_SIZE = 10**7
LAYERS = (
    "num_hidden_layers",
    "num_layers",
    "num_decoder_layers",
    "n_layer",
    "n_layers",
    "encoder_layers",
    "decoder_layers",
)
SIZES = (
    *("hidden_size", "n_embd", "d_model", "dim", "intermediate_size", "n_inner", "d_ff", "encoder_ffn_dim", "ffn_dim"),
    *("decoder_ffn_dim", "num_attention_heads", "n_head", "num_heads", "n_heads", "encoder_attention_heads", "d_kv"),
    *("decoder_attention_heads", "num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings"),
    *("n_positions", "image_size", "patch_size", "num_channels", "num_local_experts", "num_experts"),
)
"""Keys of a config.json that memory and time of a model follow from."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: its shape, and its type in safetensors' words."""

    shape: Shape
    dtype: str


class _Entry(BaseModel):
    """What a header says of one tensor."""

    model_config = ConfigDict(strict=True)
    shape: list[int] = Field(max_length=MOST_DIMENSIONS)
    dtype: str = ""


class _Index(BaseModel):
    """Which file each tensor of a model in several files is in."""

    model_config = ConfigDict(strict=True)
    weight_map: dict[str, str] = Field(min_length=1)
    metadata: dict[str, Any]
    """transformers wants it, whatever is in it."""


def looks_like_a_model(folder: Path) -> bool:
    """Whether a directory holds anything of a model."""
    return (folder / CONFIG).is_file() or any(folder.glob("*.safetensors*"))


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The files that transformers reads the weights from: one, or those that an index names. Others do not count.

    Raises:
        UsageError: there are none; the index cannot be read, names what is not in the folder, or what is not there.
    """
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    index = folder / INDEX
    if not index.is_file():
        raise UsageError(
            f"{folder}: no {WEIGHTS} and no {INDEX} there; weights in other formats, or by other names, are not loaded"
        )
    names = weight_names(index)
    for name in names:
        if not (folder / name).is_file():
            raise UsageError(f"{index}: {name} is not there; {len(names)} files belong to the model, fetch it whole")
    return tuple(folder / name for name in names)


def weight_names(index: Path) -> tuple[str, ...]:
    """The files that an index names, each beside it.

    Raises:
        UsageError: it cannot be read, or names something else.
    """
    try:
        said = _Index.model_validate(read_json(index))
    except ValidationError as error:
        raise UsageError(f"{index}: {_first(error)}") from None
    names = sorted(set(said.weight_map.values()))
    for name in names:
        if name != PurePath(name).name or not name.endswith(".safetensors"):
            raise UsageError(f"{index}: weight_map names {name!r}; it may name only *.safetensors files beside it")
    return tuple(names)


def tensors(folder: Path) -> dict[str, Shape]:
    """Name and shape of each tensor in a folder's weights, from their headers alone.

    Raises:
        UsageError: as `weight_files`; a file is no safetensors file.
    """
    return {name: tensor.shape for name, tensor in stored_tensors(folder).items()}


def count_safetensors(folder: Path) -> int:
    """Weights in a folder. Raises UsageError as `tensors`."""
    return sum(math.prod(shape) for shape in tensors(folder).values())


def stored_type(folder: Path) -> str:
    """The type that most of a folder's weights have, in safetensors' words: F32, BF16. Raises UsageError as `tensors`.

    Norms or routers are often kept in another than all the rest.
    """
    counts: Counter[str] = Counter()
    for tensor in stored_tensors(folder).values():
        counts[tensor.dtype] += math.prod(tensor.shape)
    return max(counts, key=lambda dtype: counts[dtype], default="")


def stored_tensors(folder: Path, files: tuple[Path, ...] = ()) -> dict[str, Stored]:
    """Each tensor of a folder's weights, or of some of its files. Raises UsageError as `tensors`."""
    found: dict[str, Stored] = {}
    for file in files or weight_files(folder):
        there = file.stat()
        found |= _header(file, there.st_size, there.st_mtime_ns)
    return found


def folder_config(folder: Path) -> dict[str, Any]:
    """What its config.json says.

    Raises:
        UsageError: there is none, or it is no JSON mapping.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise UsageError(f"{folder}: no {CONFIG} there; it is no folder of a Hugging Face model")
    said = read_json(file)
    check_sizes(str(file), said)
    return said


def check_sizes(source: str, config: Mapping[str, Any]) -> None:
    """Refuses sizes that are of no model, before anything is made of them.

    Raises:
        UsageError: one is no number, or none that a model could have.
    """
    for key, value in config.items():
        if isinstance(value, Mapping) and key.endswith("_config"):
            check_sizes(f"{source}: {key}", value)
        most = {**dict.fromkeys(SIZES, LARGEST_SIZE), **dict.fromkeys(LAYERS, MOST_LAYERS)}.get(key)
        for one in value if isinstance(value, list | tuple) else (value,):
            if most and one is not None and not (type(one) is int and 1 <= one <= most):
                raise UsageError(f"{source}: {key} is {str(one)[:40]!r}, a model has a whole number from 1 to {most:,}")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON mapping of a reasonable size. Raises UsageError where it is none."""
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise UsageError(f"{file}: over {MAX_JSON_BYTES} bytes; that is no description of a model")
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file}: cannot be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{file}: holds a JSON {type(found).__name__}, a mapping is needed")
    return found


@lru_cache(maxsize=64)
def _header(file: Path, size: int, changed_ns: int) -> dict[str, Stored]:  # noqa: ARG001 - another file at a later time
    """A sweep's plan asks for the same one for each of its points."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(HEADER_LENGTH_BYTES), "little")
            if not 0 < length <= min(MAX_JSON_BYTES, size):
                raise UsageError(f"{file}: no safetensors file: its header would have {length} of {size} bytes")
            said = json.loads(stream.read(length))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file}: its header cannot be read: {error}") from None
    if not isinstance(said, dict):
        raise UsageError(f"{file}: no safetensors file: its header is a JSON {type(said).__name__}")
    return {name: _tensor(file, name, entry) for name, entry in said.items() if name != "__metadata__"}


def _tensor(file: Path, name: str, entry: object) -> Stored:
    try:
        found = _Entry.model_validate(entry)
    except ValidationError as error:
        raise UsageError(f"{file}: tensor {name[:80]!r}: {_first(error)}") from None
    if any(not 0 <= one <= LARGEST_DIMENSION for one in found.shape):
        raise UsageError(f"{file}: tensor {name[:80]!r}: shape {found.shape} is of no real tensor")
    return Stored(tuple(found.shape), found.dtype)


def _first(error: ValidationError) -> str:
    """The first fault, by its key."""
    one: Mapping[str, Any] = error.errors()[0]
    return f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
