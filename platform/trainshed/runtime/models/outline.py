"""Existing weights into a model part by part: one worker reads each tensor as it is stored and sends it to the others.

A model is laid out without memory first, and its files are compared with it by their headers alone. So no worker needs
more at a time than the part that it fills. Knows transformers' names of weights in files; `tasks.making` knows parts.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key
from transformers.utils import cached_file

from trainshed.errors import PlatformError
from trainshed.runtime.models.beside import folder_of
from trainshed.runtime.models.load import check_folder, refuse_adapters
from trainshed.runtime.models.locate import LOAD_ERRORS, first_line, located
from trainshed.runtime.models.tensor_files import TensorFiles
from trainshed.runtime.models.verify import check_whole, claimed_classes
from trainshed.spec.document.locations import is_directory
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.models.folder import INDEX, WEIGHTS, Stored, weight_names

DONE = "_is_hf_initialized"
"""The mark by which transformers leaves a tensor, or a module, as it is when it initialises a model."""


@dataclass(frozen=True)
class _Group:
    """Tensors of the files that one or more weights of the model are made of."""

    target: str
    """The first of the weights; the only one where there is no converter."""
    sources: tuple[tuple[str, str | None], ...]
    """Names in the files, each with the converter's pattern that it matches."""
    converter: WeightConverter | None


class Outline:
    """A model without memory, and what fills it."""

    def __init__(
        self, model: PreTrainedModel, files: TensorFiles, remarks: tuple[str, ...], fresh: frozenset[str]
    ) -> None:
        self.model = model
        self.remarks = remarks
        self.fresh = fresh
        """Weights of a head that is not in the files, which begin as random numbers."""
        self._files = files
        self._groups = _groups(model, files.stored)

    def fill(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Copies what the files have into tensors by their plain names, those of one part; all workers call it alike.

        Raises:
            PlatformError: a file cannot be read.
        """
        for group in self._groups:
            if group.target in tensors and group.converter is None:
                key, _ = group.sources[0]  # as transformers does where files have one weight by two names
                _copy(tensors[group.target], self._files.shared_rows(key))
            elif group.target in tensors:
                for name, value in self._converted(group, group.converter).items():
                    _copy(tensors[name], iter([value]))

    def _converted(self, group: _Group, rule: WeightConverter) -> dict[str, torch.Tensor]:
        """The weights of a group by name, in the types of their files."""
        converter = copy.deepcopy(rule)
        for key, pattern in group.sources:
            converter.add_tensor(group.target, key, pattern, self._files.shared(key))
        try:
            made = converter.convert(group.target, model=self.model, config=self.model.config)
        except LOAD_ERRORS as error:
            raise PlatformError(f"{group.target}: cannot be made of {key}: {first_line(error)}") from error
        return {name: value[0] if isinstance(value, list) else value for name, value in made.items()}


def outlined(auto: Any, spec: Pretrained, config: PreTrainedConfig, *, labels: int | None = None) -> Outline | None:
    """The model laid out without memory, its files checked; see `load.load_weights`. All workers call it.

    None where it can only be loaded whole: a hub has converted its weights to safetensors, and keeps them elsewhere.

    Raises:
        PlatformError: no safetensors; they are not of this architecture, or not all of its weights; workers have
            different files by that name.
    """
    source = spec.name_or_path
    refuse_adapters(located(source), source, spec.revision)
    folder = _with_weights(spec)
    if folder is None:
        return None
    check_folder(auto, folder, source, config)
    files = TensorFiles(folder, source)
    how = {} if spec.attn_implementation is None else {"attn_implementation": spec.attn_implementation}
    try:
        with torch.device("meta"):
            made = type(auto.from_config(config))
        model, info = made.from_pretrained(
            None,
            config=config,
            state_dict={name: files.empty(name, device="meta") for name in files.stored},
            device_map={"": "meta"},
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **how,
        )
    except LOAD_ERRORS as error:
        raise PlatformError(f"{source}: the weights cannot be loaded: {first_line(error)}") from error
    remarks = check_whole(model, info, source=source, claimed=claimed_classes(config), labels=labels)
    fresh = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    return Outline(model, files, remarks, frozenset(fresh))


def _with_weights(spec: Pretrained) -> Path | None:
    """The model's folder on this node, a hub name's weights fetched into it; None where they are not all there."""
    folder = folder_of(spec)
    if is_directory(located(spec.name_or_path)):
        return folder
    index = folder / INDEX
    try:
        if _fetched(spec, WEIGHTS):
            return folder
        return folder if index.is_file() and all(_fetched(spec, name) for name in weight_names(index)) else None
    except LOAD_ERRORS as error:
        raise PlatformError(f"{spec.name_or_path}: the weights cannot be loaded: {first_line(error)}") from error


def _fetched(spec: Pretrained, name: str) -> bool:
    found = cached_file(
        spec.name_or_path, name, revision=spec.revision or "main", _raise_exceptions_for_missing_entries=False
    )
    return found is not None


@torch.no_grad()
def _copy(target: torch.Tensor, pieces: Iterator[torch.Tensor]) -> None:
    """Fills a tensor with pieces of rows, or one of all."""
    done = 0
    for piece in pieces:
        if piece.shape == target.shape:
            target.copy_(piece)
        else:
            target[done : done + len(piece)].copy_(piece)
            done += len(piece)
    setattr(target, DONE, True)


def _groups(model: PreTrainedModel, stored: Mapping[str, Stored]) -> list[_Group]:
    """Which tensors of the files make which weights; what has no place, or another shape, is in none."""
    state = model.state_dict()
    rules = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    converter_of = {pattern: rule for rule in converters for pattern in rule.source_patterns}
    found: dict[str, list[tuple[str, str | None]]] = {}
    for key in sorted(stored, key=dot_natural_key):
        name, pattern = rename_source_key(key, renamings, converters, model.base_model_prefix, state)
        if name not in state and key in state:
            name, pattern = rename_source_key(key, [], [], model.base_model_prefix, state)
        if name in state and (pattern is not None or state[name].shape == stored[key].shape):
            found.setdefault(name, []).append((key, pattern))
    return [_Group(name, tuple(keys), converter_of.get(keys[0][1] or "")) for name, keys in found.items()]
