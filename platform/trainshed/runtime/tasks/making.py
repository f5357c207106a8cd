"""A transformers model made part by part, so that no process need ever hold all of it.

The model is laid out without memory first. Then each layer gets its memory and its weights, existing ones or initial
ones, and is placed: an engine that splits parameters over workers takes it apart there and then. What is left
(embeddings, norms, heads) is the last part. The weights are the same whether parts are placed or not: the draws come in
one order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from trainshed.runtime.models.outline import DONE
from trainshed.runtime.tasks.mup import mup_factors, scale_fresh
from trainshed.runtime.tasks.weight_roles import layers_of


class PartHandler(Protocol):
    """Takes a part of a model whose weights are there; may put them elsewhere, in place."""

    def __call__(self, part: torch.nn.Module, *, layer: bool) -> None:
        """`layer` says whether it is one of the model's layers; the whole model comes last."""


Fill = Callable[[dict[str, torch.Tensor]], None]
"""Copies the weights that are there already into tensors of a part, by their names in the model."""


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
    unmark(model)
    factors = mup_factors(model, growth)
    give_weights(model, place, scale=lambda modules: scale_fresh(modules, model, factors))
    return model


def unmark(model: PreTrainedModel) -> None:
    """Has transformers initialise modules that it laid out without memory: it takes them for initialised."""
    for module in model.modules():
        module.__dict__.pop(DONE, None)


def give_weights(
    model: PreTrainedModel,
    place: PartHandler,
    *,
    scale: Callable[[Iterable[torch.nn.Module]], None],
) -> None:
    """Memory and initial weights for a model that was laid out without, part by part; then each part is placed.

    `scale` changes what stands in the modules themselves.
    """
    for owner, layer in _layers(model):
        for module in layer.modules():
            _give_memory(module)
        for module in _children_first(layer):
            owner._initialize_weights(module)
        scale(layer.modules())
        place(layer, layer=True)
    rest = _outside_of_layers(model)
    for module in rest:  # all of them first, since a module may initialise another's weights
        _give_memory(module)
    model.tie_weights()
    owners = _owners(model)
    for module in rest:
        owners[id(module)]._initialize_weights(module)
    model.tie_weights()
    scale(rest)
    _place_the_rest(model, place)


def fill_weights(
    model: PreTrainedModel,
    place: PartHandler,
    fill: Fill,
    *,
    dtype: torch.dtype,
    finish: Callable[[], None],
    wait: Collection[str] = (),
) -> None:
    """Memory and existing weights for a model that was laid out without; each part is placed before the next is made.

    Parameters are of `dtype`. What `fill` leaves begins as its family has it. Modules whose parameters are shared come
    last, all at once, and so do those that `wait` names, which are in fp32; `finish` is called before they are placed.
    """
    names = {id(module): name for name, module in model.named_modules()}
    owners = _owners(model)
    last = _sharing(model) | {id(module) for module in model.modules() if names[id(module)] in wait}
    for _, layer in _layers(model):
        _fill([*layer.modules()], fill, names, dtype)
        for module in _children_first(layer):
            owners[id(module)]._initialize_weights(module)
        place(layer, layer=True)
    for module in _outside_of_layers(model):
        if id(module) not in last and _tensors([module], names):
            _fill([module], fill, names, dtype)
            owners[id(module)]._initialize_weights(module)
            if not any(True for _ in module.children()):
                place(module, layer=False)
    at_last = [module for module in _outside_of_layers(model) if id(module) in last]
    for module in at_last:
        _give_memory(module, torch.float32 if wait else dtype)
    model.tie_weights()
    _fill(at_last, fill, names, dtype)
    for module in at_last:
        owners[id(module)]._initialize_weights(module)
    finish()
    _place_the_rest(model, place)


def _fill(modules: list[torch.nn.Module], fill: Fill, names: dict[int, str], dtype: torch.dtype) -> None:
    for module in modules:
        _give_memory(module, dtype)
    fill(_tensors(modules, names))


def _sharing(model: PreTrainedModel) -> set[int]:
    """Modules that have a parameter that another has, too."""
    holders: dict[int, set[int]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            holders.setdefault(id(parameter), set()).add(id(module))
    return {module for those in holders.values() if len(those) > 1 for module in those}


def _outside_of_layers(model: PreTrainedModel) -> list[Any]:
    """The modules that stand in no layer, each after what it holds."""
    inside = {id(module) for _, layer in _layers(model) for module in layer.modules()}
    return [module for module in _children_first(model) if id(module) not in inside]


def _place_the_rest(model: PreTrainedModel, place: PartHandler) -> None:
    layers = {id(layer) for _, layer in _layers(model)}
    for module in _outside_of_layers(model):
        if module is not model and not any(id(inner) in layers for inner in module.modules()):
            place(module, layer=False)
    place(model, layer=False)  # parameters that stand in a module with layers inside; what is placed already stays


def begin_fresh(model: PreTrainedModel, fresh: Collection[str]) -> None:
    """Memory and initial weights for the modules of parameters that nothing else will fill, before all else is made."""
    names = {id(module): name for name, module in model.named_modules()}
    owners = _owners(model)
    for module in _children_first(model):
        if any(name in fresh for name in _tensors([module], names)):
            _give_memory(module)
            owners[id(module)]._initialize_weights(module)


def lay_placeholders(model: PreTrainedModel) -> None:
    """Has parameters without memory say that they are on the CPU: each has one number for all of its places."""
    for parent in model.modules():
        for name, parameter in parent.named_parameters(recurse=False):
            if parameter.is_meta:
                one = torch.empty((), dtype=parameter.dtype).expand(parameter.shape)
                parent.register_parameter(name, torch.nn.Parameter(one, requires_grad=parameter.requires_grad))
    model.tie_weights()


def _give_memory(module: torch.nn.Module, dtype: torch.dtype = torch.float32) -> None:
    """Of a module itself, its parameters in `dtype`; what has memory already, as adapters have, stays."""
    for name, parameter in module.named_parameters(recurse=False):
        if not _has_memory(parameter):
            own = torch.empty(parameter.shape, dtype=dtype)
            setattr(module, name, torch.nn.Parameter(own, requires_grad=parameter.requires_grad))
    for name, buffer in module.named_buffers(recurse=False):
        if not _has_memory(buffer):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))


def _has_memory(tensor: torch.Tensor) -> bool:
    return not tensor.is_meta and tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()


def _tensors(modules: Iterable[torch.nn.Module], names: dict[int, str]) -> dict[str, torch.Tensor]:
    """What stands in the modules themselves, by its name in the model."""
    found: dict[str, torch.Tensor] = {}
    for module in modules:
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            found[f"{names[id(module)]}.{name}".lstrip(".")] = tensor
    return found


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
