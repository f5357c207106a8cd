"""Linear layers under adapters, which are never trained: in few bytes from the moment that their weights are there."""

from __future__ import annotations

import torch

from trainshed.errors import PlatformError
from trainshed.runtime.models.four_bit import check_installed, in_four_bits
from trainshed.runtime.tasks.weight_roles import layers_of
from trainshed.spec.training.adapters import Lora


class FrozenLinears:
    """Takes the parts of a model as they get their weights; see `trainshed.runtime.tasks.making.PartHandler`."""

    def __init__(self, lora: Lora, half: torch.dtype | None, device: torch.device) -> None:
        self._four_bits = lora.quantize_base == "nf4"
        self._half = half
        self._device = device
        self._done = 0
        if self._four_bits:
            check_installed("lora.quantize_base")

    def part(self, part: torch.nn.Module, *, layer: bool) -> None:
        """A layer at once; what is outside of layers stays as it is, for embeddings and heads need their precision."""
        if layer:
            self._lighten(part)

    def model(self, model: torch.nn.Module) -> torch.nn.Module:
        """The layers that were not parts.

        Raises:
            PlatformError: 4 bits are asked for, and the model has no linear layers.
        """
        for _, layer in layers_of(model):
            self._lighten(layer)
        if self._four_bits and not self._done:
            name = type(getattr(model, "get_base_model", lambda: model)()).__name__
            raise PlatformError(f"lora.quantize_base: {name} has no linear layers to hold in 4 bits; leave it out")
        return model

    def _lighten(self, part: torch.nn.Module) -> None:
        for parent in [*part.modules()]:
            for name, module in [*parent.named_children()]:
                if type(module) is torch.nn.Linear and not any(one.requires_grad for one in module.parameters()):
                    if self._four_bits:
                        setattr(parent, name, in_four_bits(module, self._half or torch.float32, self._device))
                        self._done += 1
                    elif self._half is not None:
                        _round(module, self._half)


def _round(module: torch.nn.Linear, half: torch.dtype) -> None:
    """To half precision, where that changes no number: every pass would round the weights so."""
    rounded = module.weight.detach().to(half)
    if torch.equal(rounded.to(module.weight.dtype), module.weight.detach()):
        module.weight = torch.nn.Parameter(rounded, requires_grad=False)
