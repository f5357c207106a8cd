"""How a model's weights are grouped for its optimizer: what is decayed, and which layer has which learning rate.

A group carries `lr_scale`, what the step's learning rate is multiplied by for it, and `penalised`, whether penalties on
weights apply to it. Knows modules by what they are, not by model families.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch

RECURRENT_LAYER = re.compile(r"_l(\d+)(?:_reverse)?$")


@dataclass(frozen=True)
class Place:
    """Where in a model a weight stands."""

    below_head: int
    """Layers between it and the head: 0 is the head, and the embeddings are below every layer."""
    layer_matrix: bool
    """Whether it is a matrix inside a layer, and no embedding."""


def parameter_groups(
    model: torch.nn.Module, *, weight_decay: float, layer_decay: float, split_layer_matrices: bool = False
) -> list[dict[str, Any]]:
    """Groups of the weights that are trained; matrices are decayed, vectors are not.

    With `split_layer_matrices` the matrices inside layers are in groups of their own, with `layer_matrices` true.
    """
    places = weight_places(model)
    groups: dict[tuple[bool, float, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        place = places[name]
        key = (
            _dimensions(parameter) >= 2,
            layer_decay**place.below_head,
            split_layer_matrices and place.layer_matrix,
        )
        groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": weight_decay if decayed else 0.0,
            "penalised": decayed,
            "lr_scale": scale,
            **({"layer_matrices": layer_matrix} if split_layer_matrices else {}),
        }
        for (decayed, scale, layer_matrix), parameters in sorted(groups.items(), key=lambda group: group[0])
    ]


def weight_places(model: torch.nn.Module) -> dict[str, Place]:
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
            matrix = _dimensions(parameter) == 2 and id(parameter) not in embedding_weights
            places[name] = Place(depth[stack] - number, layer_matrix=matrix)
        else:
            embedding = id(parameter) in embedding_weights or "embed" in name
            places[name] = Place(bottom if embedding else 0, layer_matrix=False)
    return places


def _dimensions(parameter: torch.nn.Parameter) -> int:
    return len(getattr(parameter, "ds_shape", parameter.shape))  # ds_shape: already partitioned by ZeRO-3


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
