"""What every model shape knows: what a count of its weights depends on."""

from __future__ import annotations

from typing import Protocol, TypeVar


class _HasHeads(Protocol):
    @property
    def heads(self) -> int: ...

    @property
    def width(self) -> int: ...


AnyModel = TypeVar("AnyModel", bound=_HasHeads)


def check_heads(model: AnyModel) -> AnyModel:
    """Heads must divide the width. Raises ValueError."""
    if model.width % model.heads:
        raise ValueError(f"width must be a multiple of heads: {model.width} is not a multiple of {model.heads}")
    return model


def dense(inputs: int, outputs: int) -> int:
    """Weights and biases of a linear layer."""
    return inputs * outputs + outputs
