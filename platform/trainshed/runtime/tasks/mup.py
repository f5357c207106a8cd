"""muP: what a model wider than its base starts with and learns at, so that the base's best rate is its best too.

Table 8 of arXiv 2203.03466, for Adam, with the forward pass as it is. A matrix inside a layer has the width on both
sides: its initial weights fall with the root of the width, its rate with the width. Embeddings, biases and the norms
in layers have it on one side and stay. The logits are to fall with the width: the norm before the head, which nothing
but the head reads, starts at so much less and learns at so much less, and that is a factor on the logits, whether or
not the head is tied to the embeddings. Heads of attention keep their size, so the scale of its scores stays.

Knows modules by what they are, not by model families; knows nothing of optimizers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from trainshed.runtime.tasks.weight_roles import ShapeOf, own_shape, weight_roles


@dataclass(frozen=True)
class Factors:
    """What a weight is multiplied by, against the same weight of the standard parametrisation."""

    initial: float = 1.0
    rate: float = 1.0


def mup_factors(model: torch.nn.Module, growth: float, shape_of: ShapeOf = own_shape) -> dict[str, Factors]:
    """The factors of each weight by its name, of a model `growth` times as wide as its base; at 1.0 all are 1."""
    hidden = Factors(initial=growth**-0.5, rate=1 / growth)
    output = Factors(initial=1 / growth, rate=1 / growth)
    places = weight_roles(model, shape_of)
    found = {}
    for name, parameter in model.named_parameters():
        last_norm = places[name].below_head == 0 and len(shape_of(parameter)) == 1
        if places[name].layer_matrix:
            found[name] = hidden
        else:
            found[name] = output if last_norm else Factors()
    return found


@torch.no_grad()
def scale_fresh(modules: Iterable[torch.nn.Module], model: torch.nn.Module, factors: dict[str, Factors]) -> None:
    """Multiplies the initial weights that stand in these modules themselves, in place; `factors` are the model's."""
    there = {id(parameter) for module in modules for parameter in module.parameters(recurse=False)}
    for name, parameter in model.named_parameters():
        if id(parameter) in there and factors[name].initial != 1.0:
            parameter.mul_(factors[name].initial)
