"""A transformers model with fresh weights, made part by part, so that no process need ever hold all of it.

The model is laid out without memory first. Then each layer gets its memory, its initial weights, and is placed: an
engine that splits parameters over workers takes it apart there and then. What is left (embeddings, norms, heads) is the
last part. The weights are the same whether parts are placed or not: the draws come in one order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from trainshed.runtime.tasks.mup import Factors, mup_factors, scale_fresh
from trainshed.runtime.tasks.weight_roles import layers_of


class PartHandler(Protocol):
    """Takes a part of a model whose weights are there; may put them elsewhere, in place."""

    def __call__(self, part: torch.nn.Module, *, layer: bool) -> None:
        """`layer` says whether it is one of the model's layers; the whole model comes last."""


DONE = "_is_hf_initialized"


def keep_whole(part: torch.nn.Module, *, layer: bool) -> None:
    """The place of a part that stays."""


def made_in_parts(
    lay_out: Callable[[], PreTrainedModel], place: PartHandler = keep_whole, *, growth: float = 1.0
) -> PreTrainedModel:
    """The model that `lay_out` builds, in fp32 with the initial weights of its family; the caller has seeded torch.

    `growth` is how many times wider it is than the base of its muP, which then changes the weights that are drawn.
    """
    with torch.device("meta"):
        model = lay_out()
    for module in model.modules():
        module.__dict__.pop(DONE, None)  # laying out "initialised" it without memory
    layers = _layers(model)
    factors = mup_factors(model, growth)
    for owner, layer in layers:
        layer.to_empty(device="cpu")
        for module in _children_first(layer):
            owner._initialize_weights(module)
        scale_fresh(layer.modules(), model, factors)
        place(layer, layer=True)
    _make_the_rest(model, {id(module) for _, layer in layers for module in layer.modules()}, place, factors)
    return model


def _make_the_rest(model: PreTrainedModel, made: set[int], place: PartHandler, factors: dict[str, Factors]) -> None:
    """Memory first for all of it, since a module may initialise another's weights; ties again, then the weights."""
    rest = [module for module in model.modules() if id(module) not in made]
    for module in rest:
        module.to_empty(device="cpu", recurse=False)
    model.tie_weights()
    owners = _owners(model)
    for module in _children_first(model):
        if id(module) not in made:
            owners[id(module)]._initialize_weights(module)
    model.tie_weights()
    scale_fresh(rest, model, factors)
    for module in rest:
        if module is not model and not any(id(inner) in made for inner in module.modules()):
            place(module, layer=False)
    place(model, layer=False)  # parameters that stand in a module with layers inside; what is placed already stays


def _layers(model: PreTrainedModel) -> list[tuple[PreTrainedModel, torch.nn.Module]]:
    """The members of the outermost module lists, each with the model whose rules initialise it."""
    owners = _owners(model)
    return [(owners[id(layer)], layer) for _, layer in layers_of(model)]


def _owners(model: PreTrainedModel) -> dict[int, PreTrainedModel]:
    """The innermost transformers model around each module."""
    owners: dict[int, PreTrainedModel] = {}

    def walk(module: torch.nn.Module, owner: PreTrainedModel) -> None:
        owners[id(module)] = owner
        for child in module.children():
            walk(child, child if isinstance(child, PreTrainedModel) else owner)

    walk(model, model)
    return owners


def _children_first(module: torch.nn.Module) -> list[Any]:
    """The module and all inside it, each after what it holds."""
    return [inner for child in module.children() for inner in _children_first(child)] + [module]
