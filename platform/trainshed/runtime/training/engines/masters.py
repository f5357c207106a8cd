"""Weights in half precision and the fp32 masters behind them: what a pass computes with, and what an export holds.

Knows pieces and a process group; knows no engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist

from trainshed.runtime.training.engines.pieces import Piece

ROTARY = "inv_freq"


def to_working_copy(part: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    """Moves and casts a part of a model in place, as transformers loads one in that type.

    The frequencies of rotary positions stay in fp32: at a position of some hundreds a rounded one is another angle.
    """
    exact = [
        (module, name, buffer)
        for module in part.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and ROTARY in name
    ]
    part.to(device, dtype)
    for module, name, buffer in exact:
        module._buffers[name] = buffer.to(device)
    return part


def whole_masters(
    pieces: Sequence[Piece], shapes: Mapping[str, torch.Size], device: torch.device
) -> dict[str, torch.Tensor]:
    """The trained parameters whole, in fp32 on the CPU, put together on worker 0; nothing on the others.

    `shapes` names all that are trained. One piece travels at a time, so that no device need hold a whole parameter.
    """
    worker = dist.get_rank()
    held: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(held, [(piece.name, piece.start, len(piece)) for piece in pieces])
    whole = {}
    if worker == 0:
        whole = {name: torch.empty(shape, dtype=torch.float32) for name, shape in shapes.items()}
    for owner, theirs in enumerate(held):
        for number, (name, start, length) in enumerate(theirs):
            values = _received(pieces, number, length, owner=owner, device=device)
            if worker == 0:
                whole[name].view(-1)[start : start + length] = values
    _check_nothing_is_missing(held, shapes)
    return whole


def _received(pieces: Sequence[Piece], number: int, length: int, *, owner: int, device: torch.device) -> torch.Tensor:
    """One piece on worker 0, whoever holds it; on the others it is of no use."""
    worker = dist.get_rank()
    if worker == owner:
        own = pieces[number].values.to(device, torch.float32).contiguous()
        if owner != 0:
            dist.send(own, 0)
        return own
    buffer = torch.empty(length if worker == 0 else 0, dtype=torch.float32, device=device)
    if worker == 0:
        dist.recv(buffer, owner)
    return buffer


def _check_nothing_is_missing(held: Sequence[Sequence[tuple[str, int, int]]], shapes: Mapping[str, torch.Size]) -> None:
    """Pieces overlap nowhere, so their lengths say whether each parameter is there as a whole."""
    there = dict.fromkeys(shapes, 0)
    for theirs in held:
        for name, _, length in theirs:
            there[name] += length
    gaps = [name for name, shape in shapes.items() if there[name] != shape.numel()]
    if gaps:
        name = gaps[0]
        raise RuntimeError(f"the workers hold no whole {name}: {there[name]} of {shapes[name].numel()} numbers")
