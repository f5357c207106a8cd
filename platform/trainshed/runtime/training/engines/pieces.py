"""The training state as pieces: runs of one parameter's elements, with the optimizer's state of the same elements.

Every engine says which pieces its worker holds, whatever it splits and how. That makes a checkpoint independent of
the engine, the ZeRO stage and the number of workers: a piece that is read back takes what overlaps with it.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import torch

State = MutableMapping[torch.Tensor, dict[str, Any]]
"""`optimizer.state`: what an optimizer remembers of each tensor that it steps on."""


@dataclass(frozen=True)
class Piece:
    """Elements `start` to `start + len(values)` of a parameter, as the optimizer steps on them."""

    name: str
    """The parameter's name in the model."""
    start: int
    values: torch.Tensor
    """A 1-D view; writing to it changes the weights, once the engine is told to refresh."""
    owner: torch.Tensor
    """The tensor that the optimizer steps on; the parameter itself, or a flat one that holds parts of several."""
    offset: int
    """Where `values` begins in the flattened owner."""
    shared: bool
    """Whether every worker holds the same piece."""

    def __len__(self) -> int:
        return self.values.numel()


def share_of(piece: Piece, *, worker: int, workers: int) -> Piece | None:
    """The part of a piece that one worker saves: all of its own, an equal part of a shared one; None: nothing."""
    if not piece.shared:
        return piece
    first, last = (len(piece) * part // workers for part in (worker, worker + 1))
    if first == last:
        return None
    return replace(
        piece, start=piece.start + first, values=piece.values[first:last], offset=piece.offset + first, shared=False
    )


def tensors_of(piece: Piece, state: State) -> Iterator[tuple[str, torch.Tensor]]:
    """The optimizer's state of a piece's elements: `(key, 1-D view)` for every tensor with the owner's shape."""
    for key, value in state.get(piece.owner, {}).items():
        if isinstance(value, torch.Tensor) and value.shape == piece.owner.shape:
            yield key, value.reshape(-1)[piece.offset : piece.offset + len(piece)]


def odd_tensors_of(piece: Piece, state: State) -> Iterator[tuple[str, torch.Tensor]]:
    """What an optimizer remembers of a whole parameter in a shape of its own, such as Adafactor's rows and columns."""
    for key, value in state.get(piece.owner, {}).items():
        if isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape != piece.owner.shape:
            yield key, value


def scalars_of(piece: Piece, state: State) -> dict[str, float]:
    """The optimizer's single numbers for the tensor that a piece is part of, such as Adam's step."""
    return {
        key: float(value)
        for key, value in state.get(piece.owner, {}).items()
        if isinstance(value, int | float) or (isinstance(value, torch.Tensor) and value.dim() == 0)
    }
