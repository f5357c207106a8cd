"""What the trials of a sweep need of a device, and how many share it: a figure for people and programs."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

from trainshed.spec.plan.limits import Limit


@dataclass(frozen=True)
class SweepNeed:
    """The largest trial, beside the plan of the sweep's own training."""

    settings: dict[str, JsonValue]
    """Those of its settings that move memory; empty where none does, and every trial needs the same."""
    needed: int
    """Bytes to compare with a limit."""
    limit: Limit | None
    """What a worker may use that has its device to itself; None where nobody says it."""
    trials_per_device: int
