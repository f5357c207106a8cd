"""Where a loop runs: under Ray Train, in a Tune trial, or bare. The loop knows only these four things of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch


@dataclass(frozen=True)
class World:
    """This worker's place: its number, how many there are, and its device."""

    worker: int
    workers: int
    device: torch.device


class Host(Protocol):
    """What the loop tells its surroundings, and what it asks of them."""

    world: World

    def resume_folder(self) -> Path | None:
        """A local folder with the whole state of the newest complete checkpoint, or None at the beginning."""

    def validated(self, metrics: dict[str, Any]) -> None:
        """The held-out loss was taken at `metrics["step"]`; called on every worker."""

    def checkpointed(self, folder: Path, metrics: dict[str, Any]) -> None:
        """This worker's part of the state lies in `folder`, which now belongs to the host."""


class BareHost:
    """One process, no Ray: for benchmarks, and for looking at the loop in a debugger."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.checkpoints: list[Path] = []

    def resume_folder(self) -> Path | None:
        """Always the beginning."""
        return None

    def validated(self, metrics: dict[str, Any]) -> None:
        """Nobody listens."""

    def checkpointed(self, folder: Path, metrics: dict[str, Any]) -> None:  # noqa: ARG002
        """Keeps the folder."""
        self.checkpoints.append(folder)
