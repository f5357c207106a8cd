"""Weights that are there already, into a model: safetensors only, all of them, and nothing else.

Knows transformers' way of loading; what a whole set of weights is stands in `whole`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import cached_file

from trainshed.errors import PlatformError
from trainshed.runtime.models.locate import LOAD_ERRORS, first_line, located
from trainshed.runtime.models.verify import check_whole, claimed_classes
from trainshed.spec.document.locations import is_directory
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.models.folder import tensors

ADAPTERS = "adapter_config.json"
MOST_TIMES = 4
"""How many times the weights of its files a model may have: memory for more is not asked for, to be refused later."""


@dataclass(frozen=True)
class Loaded:
    """A model with its weights, and what there is to say of them."""

    model: PreTrainedModel
    remarks: tuple[str, ...]
    fresh: frozenset[str] = frozenset()
    """Weights of a head that is not in its files, which begin as random numbers."""


def load_weights(
    auto: Any,
    spec: Pretrained,
    config: PreTrainedConfig,
    *,
    labels: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Loaded:
    """The model, in fp32 if nothing else is said; `labels` are how many a classifier must tell apart.

    Raises:
        PlatformError: no safetensors; they are not of this architecture, or not all of its weights.
    """
    how = {} if spec.attn_implementation is None else {"attn_implementation": spec.attn_implementation}
    return load_whole(
        auto,
        located(spec.name_or_path),
        spec.name_or_path,
        config=config,
        labels=labels,
        revision=spec.revision,
        dtype=dtype,
        **how,
    )


def load_whole(
    auto: Any,
    place: str,
    source: str,
    *,
    config: PreTrainedConfig,
    labels: int | None = None,
    revision: str | None = None,
    dtype: torch.dtype | Literal["auto"] = "auto",
    attention: str | None = None,
    **how: Any,
) -> Loaded:
    """The model of a folder or a hub name, every weight of it there; `source` is what errors call it.

    Raises:
        PlatformError: see `load_weights`.
    """
    refuse_adapters(place, source, revision)
    if attention is not None:
        how["attn_implementation"] = attention
    if is_directory(place):
        check_folder(auto, Path(place), source, config)
    try:
        model, info = auto.from_pretrained(
            place,
            config=config,
            revision=revision or "main",
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused here, by name
            **how,
        )
    except LOAD_ERRORS as error:
        raise PlatformError(f"{source}: the weights cannot be loaded: {first_line(error)}") from error
    remarks = check_whole(model, info, source=source, claimed=claimed_classes(config), labels=labels)
    fresh = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    return Loaded(model, remarks, frozenset(fresh))


def refuse_adapters(place: str, source: str, revision: str | None) -> None:
    """transformers would load them in passing, and for adapters alone whatever model they name, from wherever it is."""
    try:
        found = cached_file(
            place,
            ADAPTERS,
            revision=revision or "main",
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except LOAD_ERRORS as error:
        raise PlatformError(f"{source}: the weights cannot be loaded: {first_line(error)}") from error
    if found is not None:
        raise PlatformError(
            f"{source}: holds adapters ({ADAPTERS}) beside or instead of whole weights; merge them first "
            "(peft: merge_and_unload, save_pretrained)"
        )


def check_folder(auto: Any, folder: Path, source: str, config: PreTrainedConfig) -> None:
    """What would lead outside the folder, or make up a model of another size, is refused before anything is loaded."""
    if getattr(config, "transformers_weights", None) is not None:
        raise PlatformError(f"{source}: config.json has transformers_weights; only model.safetensors is loaded")
    there = sum(math.prod(shape) for shape in tensors(folder).values())
    try:
        with torch.device("meta"):
            wanted = sum(parameter.numel() for parameter in auto.from_config(config).parameters())
    except LOAD_ERRORS as error:
        raise PlatformError(f"{source}: config.json describes no model: {first_line(error)}") from error
    if wanted > MOST_TIMES * there:
        raise PlatformError(
            f"{source}: config.json describes a model of {wanted:,} weights, its files hold {there:,}; "
            "the files are of another model, or not all there"
        )
