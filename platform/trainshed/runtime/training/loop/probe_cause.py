"""What is broken, from the gradient that an engine has applied and the parts of the one that it should have applied.

The parts are nearly at right angles, so least squares find how often each one was taken. Knows vectors, no engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

MISSING = 0.05
"""Of what it should be, a gradient under this is none."""
NOISE = 0.1
"""What half precision may add to a count, and to what no count explains."""
ROOM = 4
"""So many times more numbers than parts, or least squares say nothing."""


@dataclass(frozen=True)
class Applied:
    """What one worker finds: a cause in words, or whose gradients were applied and no others'."""

    cause: str | None = None
    only: tuple[int, ...] | None = None


def applied(found: torch.Tensor, parts: torch.Tensor, layers: Sequence[tuple[str, torch.Tensor]]) -> Applied:
    """What is wrong with a gradient. `found` is `(numbers,)`, `parts` `(workers, 1 or 2, numbers)`.

    `layers` are the parameters, each with a mask over the numbers.
    """
    right = parts.sum(dim=(0, 1))
    gone = [
        (name, mask) for name, mask in layers if bool(mask.any()) and found[mask].norm() <= MISSING * right[mask].norm()
    ]
    there = torch.ones_like(found, dtype=torch.bool)
    if gone and len(gone) < len(layers):
        for _, mask in gone:
            there &= ~mask
    columns = parts.flatten(0, 1)[:, there].T
    if columns.shape[0] < ROOM * columns.shape[1]:  # too many workers to tell them apart
        columns = parts.sum(dim=(0, 1))[there].unsqueeze(1)
    counts = torch.linalg.lstsq(columns, found[there].unsqueeze(1)).solution.squeeze(1)
    rest = float((columns @ counts - found[there]).norm() / right[there].norm())
    if not rest <= NOISE:
        return Applied(_worst(found, right, layers))
    if there.all():
        return _by_counts(counts, parts.shape[0], parts.shape[1])
    names = ", ".join(name for name, _ in gone)
    return Applied(f"the gradient of {names} is lost")


def together(found: Sequence[Applied]) -> str:
    """The cause from what all workers that are wrong have found."""
    only = [one.only for one in found if one.only is not None]
    of_one = [one for one in only if len(one) == 1]
    if len(found) == len(of_one) == len(set(of_one)) > 1:
        return "gradients are not averaged: each worker applies its own"
    if only:
        return f"only the gradients of worker {', '.join(map(str, only[0]))} are applied, the others' are lost"
    return next((one.cause for one in found if one.cause), "a step of theirs is another one")


def _by_counts(counts: torch.Tensor, workers: int, cuts: int) -> Applied:
    """How often each worker's passes were taken; `counts` is `(workers x cuts,)`, or one number for all."""
    if len(counts) == 1:
        return Applied(_scaled(float(counts[0]), workers))
    taken = counts.view(workers, cuts)
    if _alike(taken):
        return Applied(_scaled(float(taken.mean()), workers))
    if cuts == 2 and _alike(taken[:, :1]) and float(taken[:, 1].abs().max()) <= NOISE:
        return Applied("the gradients of the last pass of a step are lost")
    rows = [worker for worker in range(workers) if float(taken[worker].abs().max()) > NOISE]
    if len(rows) < workers and _alike(taken[rows]):
        return Applied(only=tuple(rows))
    of_workers = taken.mean(dim=1)
    odd = int((of_workers - of_workers.median()).abs().argmax())
    return Applied(f"the gradients of worker {odd} count {float(of_workers[odd] / of_workers.median()):.3g} times")


def _alike(counts: torch.Tensor) -> bool:
    mean = float(counts.mean())
    return float((counts - mean).abs().max()) <= NOISE * max(1.0, abs(mean))


def _scaled(count: float, workers: int) -> str | None:
    if abs(count - 1) <= MISSING:
        return None
    if abs(count) <= MISSING:
        return "no gradient is applied"
    if abs(count + 1) <= MISSING:
        return "gradients are negated"
    summed = " (summed over the workers, not averaged)" if abs(count - workers) <= MISSING * workers else ""
    return f"gradients are {count:.3g} times what they should be{summed}"


def _worst(found: torch.Tensor, right: torch.Tensor, layers: Sequence[tuple[str, torch.Tensor]]) -> str:
    off = {
        name: float((found[mask] - right[mask]).norm() / right[mask].norm())
        for name, mask in layers
        if bool(mask.any())
    }
    name = max(off, key=lambda one: off[one])
    return f"the gradient of {name} is off by {off[name]:.0%}"
