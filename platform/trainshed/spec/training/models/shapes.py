"""What model shapes share: what a count of their weights depends on, and how one is a multiple of another."""

from __future__ import annotations

from typing import Protocol, TypeVar


class _HasHeads(Protocol):
    @property
    def heads(self) -> int: ...

    @property
    def width(self) -> int: ...


class _HasBase(_HasHeads, Protocol):
    @property
    def mup_base_width(self) -> int | None: ...


AnyModel = TypeVar("AnyModel", bound=_HasHeads)
AnyGrown = TypeVar("AnyGrown", bound=_HasBase)


def check_heads(model: AnyModel) -> AnyModel:
    """Heads must divide the width. Raises ValueError."""
    if model.width % model.heads:
        raise ValueError(f"width must be a multiple of heads: {model.width} is not a multiple of {model.heads}")
    return model


def check_share_of_base(model: AnyGrown, *names: str) -> AnyGrown:
    """Every size in `names` must have a whole share in the model of `mup_base_width`; raises ValueError.

    A whole share of `heads` says that the base has heads of the same size. A size that stays as it is while the width
    grows (one key and value head for any width) has none: its matrices would not be what muP takes hidden ones for.
    """
    base = model.mup_base_width
    if base is None:
        return model
    for name in names:
        size = getattr(model, name)
        if size is not None and size * base % model.width:
            raise ValueError(
                f"mup_base_width {base} is {base / model.width:.4g} of width {model.width}, and {name} {size} has no "
                f"such share, it would be {size * base / model.width:.4g}; {name} must grow as the width does"
            )
    return model


def dense(inputs: int, outputs: int) -> int:
    """Weights and biases of a linear layer."""
    return inputs * outputs + outputs
