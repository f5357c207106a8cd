"""What is never trained, as under adapters: in few bytes from the moment that its weights are there."""

from __future__ import annotations

import torch

from trainshed.errors import PlatformError
from trainshed.runtime.models.four_bit import check_installed, in_four_bits
from trainshed.runtime.tasks.weight_roles import layers_of


class FrozenWeights:
    """Takes the parts of a model as they get their weights; see `trainshed.runtime.tasks.making.PartHandler`."""

    def __init__(self, half: torch.dtype | None, device: torch.device, *, four_bits: bool = False) -> None:
        self._four_bits = four_bits
        self._half = half
        self._device = device
        self._done = 0
        if self._four_bits:
            check_installed("lora.quantize_base")

    def part(self, part: torch.nn.Module, *, layer: bool) -> None:
        """A layer, or something outside of layers, which is never in 4 bits: embeddings and heads need more."""
        if layer and self._four_bits:
            self._quantise(part)
        self._halve(part)

    def model(self, model: torch.nn.Module) -> torch.nn.Module:
        """The whole model; what was a part before is as it is to be.

        Raises:
            PlatformError: 4 bits are asked for, and the model has no linear layers.
        """
        for _, layer in layers_of(model):
            self.part(layer, layer=True)
        self._halve(model)
        if self._four_bits and not self._done:
            name = type(getattr(model, "get_base_model", lambda: model)()).__name__
            raise PlatformError(f"lora.quantize_base: {name} has no linear layers to hold in 4 bits; leave it out")
        return model

    def _quantise(self, layer: torch.nn.Module) -> None:
        for parent in [*layer.modules()]:
            for name, module in [*parent.named_children()]:
                if type(module) is torch.nn.Linear and not any(one.requires_grad for one in module.parameters()):
                    setattr(parent, name, in_four_bits(module, self._half or torch.float32, self._device))
                    self._done += 1

    def _halve(self, part: torch.nn.Module) -> None:
        """To half precision where that changes no number, as their files have them."""
        for parameter in part.parameters():
            if self._half is not None and not parameter.requires_grad and parameter.dtype == torch.float32:
                rounded = parameter.detach().to(self._half)
                if torch.equal(rounded.float(), parameter.detach()):
                    parameter.data = rounded
