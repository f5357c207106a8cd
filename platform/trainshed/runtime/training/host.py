"""Where a loop runs: under Ray Train, in a Tune trial, or bare. The loop knows only this of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from trainshed.runtime.training.ended import Notice


@dataclass(frozen=True)
class World:
    """A worker's rank, the number of workers, and its device."""

    worker: int
    workers: int
    device: torch.device


class Host(Protocol):
    """What the loop tells its surroundings, and what it asks of them."""

    world: World

    def notice(self) -> Notice | None:
        """Whether this worker was told to end; asked at every step, so it must cost nothing."""

    def stepped(self, step: int) -> None:
        """A step was done: a sign of life."""

    def validated(self, metrics: dict[str, Any]) -> None:
        """The held-out loss was taken at `metrics["step"]`; called on every worker."""

    def committed(self, path: str, metrics: dict[str, Any]) -> None:
        """The checkpoint in `path`, relative to the storage, is complete; called on every worker at the same step."""


class BareHost:
    """No Ray: for benchmarks, and for looking at the loop in a debugger."""

    def __init__(self, world: World) -> None:
        self.world = world

    def notice(self) -> Notice | None:
        """Nobody asks it to end."""
        return None

    def stepped(self, step: int) -> None:
        """Nobody listens."""

    def validated(self, metrics: dict[str, Any]) -> None:
        """Nobody listens."""

    def committed(self, path: str, metrics: dict[str, Any]) -> None:
        """Nobody listens."""
