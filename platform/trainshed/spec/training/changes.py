"""Settings that change in the middle of a training: which can, and a training as the stretches between two changes.

The best member of a population is such a training: it went on from another's weights with other settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Generic, TypeVar

from pydantic import Field, JsonValue

from trainshed.errors import SpecError
from trainshed.spec.document.override import override
from trainshed.spec.document.part import Count, Part

MUTABLE = ("optimizer.", "schedule.", "regularization.")
"""Heads of the paths that may change in the middle of a training."""
PartT = TypeVar("PartT", bound=Part)
FIXED = ("optimizer.kind", "schedule.kind", "regularization.ema_decay", "regularization.early_stopping")


class Change(Part):
    """A change of settings from a step on."""

    step: Count
    """Optimizer steps done before it."""
    settings: Annotated[dict[str, JsonValue], Field(min_length=1)]
    """Dotted paths into the training, under optimizer, schedule or regularization, with their values from then on."""


@dataclass(frozen=True)
class Stretch(Generic[PartT]):
    """A part of a training with one set of settings."""

    training: PartT
    """With those settings, and the steps of the whole."""
    until: int
    """The step it ends after."""


def can_change(path: str) -> bool:
    """Whether a setting may change in the middle of a training."""
    return path.startswith(MUTABLE) and not path.startswith(FIXED)


def stretches(training: PartT, changes: Iterable[Change], steps: int) -> list[Stretch[PartT]]:
    """A training of so many steps from change to change; one that has no change is one stretch."""
    current = training
    found = list[Stretch[PartT]]()
    settings = dict[str, JsonValue]()
    for change in changes:
        found.append(Stretch(current, change.step))
        settings |= change.settings
        tested = training.model_copy(update={"self_test": False})  # the first stretch has been
        current = override(tested, settings, file="changes")
    return [*found, Stretch(current, steps)]


def misfit(training: PartT, changes: Sequence[Change], steps: int) -> str | None:
    """What of the changes of a training cannot be, in one line; None where all of it can."""
    at = [change.step for change in changes]
    if any(later <= earlier for earlier, later in pairwise(at)):
        return f"changes: their steps rise, got {at}"
    if at and at[-1] >= steps:
        return f"changes: their steps are under steps: {at[-1]} is not under {steps}"
    fixed = [path for change in changes for path in change.settings if not can_change(path)]
    if fixed:
        return f"changes: {fixed[0]} cannot change in the middle of a training"
    try:
        stretches(training, changes, steps)
    except SpecError as error:
        return f"changes: {error.faults[0].message}"
    return None


def scaled(changes: Iterable[Change], *, old: int, new: int) -> tuple[Change, ...]:
    """The changes of a training of `old` steps at the same parts of one of `new`; of those that fall together the last
    settings count."""
    found: dict[int, dict[str, JsonValue]] = {}
    for change in changes:
        step = min(new - 1, max(1, round(change.step * new / old)))
        found[step] = {**found.get(step, {}), **change.settings}
    return tuple(Change(step=step, settings=settings) for step, settings in found.items() if step < new)


def without(changes: Iterable[Change], paths: Iterable[str]) -> tuple[Change, ...]:
    """The changes but those of paths that somebody has said a value for, of what is inside of them or holds them."""
    said = tuple(paths)
    left = ((change.step, _without(change.settings, said)) for change in changes)
    return tuple(Change(step=step, settings=settings) for step, settings in left if settings)


def _without(settings: Mapping[str, JsonValue], said: tuple[str, ...]) -> dict[str, JsonValue]:
    def is_said(path: str) -> bool:
        return any(path == one or path.startswith(f"{one}.") or one.startswith(f"{path}.") for one in said)

    return {path: value for path, value in settings.items() if not is_said(path)}
