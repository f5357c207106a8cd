"""How a model's weights are grouped for its optimizer: what is decayed, and which weights have which learning rate.

A group carries `lr_scale`, what the step's learning rate is multiplied by for it, and `penalised`, whether penalties on
weights apply to it.
"""

from __future__ import annotations

from typing import Any

import torch

from trainshed.runtime.tasks.mup import mup_factors
from trainshed.runtime.tasks.weight_roles import ShapeOf, own_shape, weight_roles


def parameter_groups(
    model: torch.nn.Module,
    shape_of: ShapeOf = own_shape,
    *,
    weight_decay: float,
    layer_decay: float,
    growth: float = 1.0,
    split_layer_matrices: bool = False,
) -> list[dict[str, Any]]:
    """Groups of the weights that are trained; matrices are decayed, vectors are not.

    `growth` is how many times wider the model is than the base of its muP. Where that takes from a learning rate, it
    adds to the weight decay: torch takes rate x decay of a weight in a step, and this part is to stay as it is from
    width to width (as github.com/microsoft/mup does; arXiv 2405.13698 on why).

    With `split_layer_matrices` the matrices inside layers are in groups of their own, with `layer_matrices` true.
    """
    places = weight_roles(model, shape_of)
    factors = mup_factors(model, growth, shape_of)
    groups: dict[tuple[bool, float, float, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        place = places[name]
        key = (
            len(shape_of(parameter)) >= 2,
            layer_decay**place.below_head,
            factors[name].rate,
            split_layer_matrices and place.layer_matrix,
        )
        groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": weight_decay / rate if decayed else 0.0,
            "penalised": decayed,
            "lr_scale": scale * rate,
            **({"layer_matrices": layer_matrix} if split_layer_matrices else {}),
        }
        for (decayed, scale, rate, layer_matrix), parameters in sorted(groups.items(), key=lambda group: group[0])
    ]
