"""Linear layers whose frozen weights are held in 4 bits (nf4 with scales in 8 bits, arXiv 2305.14314).

The only file that knows bitsandbytes' layers; the library is loaded where a job asks for it.
"""

from __future__ import annotations

from typing import Any

import torch

from trainshed.errors import PlatformError
from trainshed.spec.training.quantization import EXTRA, is_installed_here


def check_installed(key: str) -> None:
    """Whether the library is there.

    Raises:
        PlatformError: it is not, in one line with what to do.
    """
    if not is_installed_here():
        raise PlatformError(f"{key}: {EXTRA} is not installed on the cluster; install trainshed[{EXTRA}] there")


def in_four_bits(layer: torch.nn.Linear, computes_in: torch.dtype, device: torch.device) -> torch.nn.Module:
    """A layer that answers as this one does from 4-bit weights, on a device; its input's type is its answer's."""
    from bitsandbytes.nn import Linear4bit, Params4bit  # optional, and heavy

    made = Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=computes_in,
        compress_statistics=True,
        quant_type="nf4",
        device="meta",
    )
    weight = layer.weight.detach().to(computes_in)  # what a pass computes in is what goes out
    made.weight = Params4bit(weight, requires_grad=False, compress_statistics=True, quant_type="nf4", module=made)
    if layer.bias is not None:
        made.bias = torch.nn.Parameter(layer.bias.detach(), requires_grad=False)
    moved: torch.nn.Module = made.to(device)  # where the library makes 4 bits of them
    return moved


def whole_shape(parameter: torch.Tensor) -> torch.Size:
    """The shape of the weights that a parameter stands for."""
    shape: torch.Size = parameter.shape if _state_of(parameter) is None else _state_of(parameter).shape
    return shape


def whole_weight(parameter: torch.Tensor) -> torch.Tensor:
    """The numbers that a parameter stands for; of 4 bits those that its layer computes with."""
    state = _state_of(parameter)
    if state is None:
        return parameter.detach()
    from bitsandbytes.functional import dequantize_4bit

    made: torch.Tensor = dequantize_4bit(parameter.detach(), state)
    return made


def _state_of(parameter: torch.Tensor) -> Any:
    return getattr(parameter, "quant_state", None)
