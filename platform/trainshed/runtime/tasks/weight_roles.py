"""Where in a model each weight stands: in which layer, below the head, an embedding or a matrix of a layer.

Knows modules by what they are, not by model families.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch

RECURRENT_LAYER = re.compile(r"_l(\d+)(?:_reverse)?$")


@dataclass(frozen=True)
class WeightRole:
    """Where in a model a weight stands."""

    below_head: int
    """Layers between it and the head: 0 is the head, and the embeddings are below every layer."""
    layer_matrix: bool
    """Whether it is a matrix inside a layer, and no embedding."""


ShapeOf = Callable[[torch.Tensor], torch.Size]
"""The shape of a whole parameter, of which a worker may hold a part."""


def own_shape(parameter: torch.Tensor) -> torch.Size:
    """The shape of a parameter that is not split."""
    return parameter.shape


def layers_of(model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """The members of the outermost module lists, each with its name."""
    found: list[tuple[str, torch.nn.Module]] = []
    inside: set[int] = set()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and id(module) not in inside:
            inside |= {id(one) for one in module.modules()}
            found += [(f"{name}.{number}", layer) for number, layer in enumerate(module)]
    return found


def weight_roles(model: torch.nn.Module, shape_of: ShapeOf = own_shape) -> dict[str, WeightRole]:
    """The place of each weight by its name, as `named_parameters` has it.

    Layers are the members of the outermost module lists, and those of a recurrent network; an encoder's and a decoder's
    are counted each from their own top. A weight outside them is an embedding, where it belongs to an embedding module
    or is named so, or else of the head. A tied head counts as the embedding that it is.
    """
    lists = [name for name, module in model.named_modules() if isinstance(module, torch.nn.ModuleList) and len(module)]
    recurrent = [name for name, module in model.named_modules() if isinstance(module, torch.nn.RNNBase)]
    embedding_weights = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    layers = {name: _layer(name, lists, recurrent) for name, _ in model.named_parameters()}
    depth: dict[str, int] = {}
    for layer in layers.values():
        if layer is not None:
            stack, number = layer
            depth[stack] = max(depth.get(stack, 0), number + 1)
    bottom = max(depth.values(), default=0) + 1
    places = {}
    for name, parameter in model.named_parameters():
        layer = layers[name]
        if layer is not None:
            stack, number = layer
            matrix = len(shape_of(parameter)) == 2 and id(parameter) not in embedding_weights
            places[name] = WeightRole(depth[stack] - number, layer_matrix=matrix)
        else:
            embedding = id(parameter) in embedding_weights or "embed" in name
            places[name] = WeightRole(bottom if embedding else 0, layer_matrix=False)
    return places


def _layer(name: str, lists: list[str], recurrent: list[str]) -> tuple[str, int] | None:
    """The stack that a weight is in, and the number of its layer from the bottom."""
    for stack in lists:  # outermost first: `named_modules` gives a module before what is inside it
        if name.startswith(f"{stack}."):
            return stack, int(name.removeprefix(f"{stack}.").partition(".")[0])
    for stack in recurrent:
        found = RECURRENT_LAYER.search(name)
        if name.startswith(f"{stack}." if stack else "") and found:
            return stack, int(found[1])
    return None
