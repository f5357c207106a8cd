"""What one device costs for one hour, and who says so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HourPrice:
    """The price of a device-hour: a GPU's, or a CPU's where workers have no GPU."""

    amount: float
    currency: str | None
    """None where the job does not say it."""
    source: str
