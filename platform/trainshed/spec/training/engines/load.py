"""What an engine is given to carry, and the bytes that a worker then holds: the words that engines and the plan share.

Knows numbers alone: neither a job nor an engine.
"""

from __future__ import annotations

from dataclasses import dataclass

FP32 = 4


@dataclass(frozen=True)
class Load:
    """A model and its optimizer on so many workers, in numbers."""

    parameters: int
    trained: int
    """Of these; the others have neither gradients nor moments."""
    moments: float
    """What the optimizer keeps for each trained one, in fp32 numbers."""
    width: int
    """Bytes of a number in forward and backward passes."""
    workers: int
    gathered: int
    """Numbers that are whole at once where layers are gathered one after another."""
    light: int = 0
    """Of the frozen ones, those that are in fewer bytes than the others, where an engine can have them so."""
    light_bytes: int = 0
    """Of all of these."""
    averaged: bool = False
    """Whether a running average of the trained weights is kept."""
    several_passes: bool = True
    """Whether gradients are looked at between two passes of a step."""


@dataclass(frozen=True)
class Bytes:
    """Bytes on one worker between two passes of a step, by what they are."""

    parameters: int
    gradients: int
    optimizer: int
    """Moments, and fp32 master weights where the engine keeps them beside the parameters."""
    buffers: int = 0
    """Of communication; whole parameters that are gathered; the average of weights where one is kept."""
    host: int = 0
    """In the machine's memory instead of the device's."""
    disk: int = 0
