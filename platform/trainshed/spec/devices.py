"""Devices: how much memory they have and how fast they multiply at best. A table of data sheets, for the plan and MFU.

Knows no torch; a device that is not in it has no known peak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GpuType = Literal[
    "H200", "H100", "H100-PCIe", "A100-80GB", "A100-40GB", "L40S", "L4", "A10G", "V100-32GB", "V100-16GB", "T4"
]
Precision = Literal["fp32", "bf16", "fp16"]

GIB = 2**30
TERA = 10**12


@dataclass(frozen=True)
class Device:
    """One GPU by its maker's data sheet."""

    memory_bytes: int
    """What is built in; a process gets a little less, see the plan's reserve."""
    half_peak: float
    """FLOP/s of dense fp16 or bf16 matrix products."""
    fp32_peak: float
    """FLOP/s in fp32, TF32 off."""
    bf16: bool = True
    """Whether bf16 runs at `half_peak`; before Ampere only fp16 does."""


DEVICES: dict[GpuType, Device] = {
    "H200": Device(141 * 10**9, 989 * TERA, 67 * TERA),
    "H100": Device(80 * GIB, 989 * TERA, 67 * TERA),
    "H100-PCIe": Device(80 * GIB, 756 * TERA, 51 * TERA),
    "A100-80GB": Device(80 * GIB, 312 * TERA, 19.5 * TERA),
    "A100-40GB": Device(40 * GIB, 312 * TERA, 19.5 * TERA),
    "L40S": Device(48 * 10**9, 362 * TERA, 91.6 * TERA),
    "L4": Device(24 * 10**9, 121 * TERA, 30.3 * TERA),
    "A10G": Device(24 * 10**9, 70 * TERA, 31.2 * TERA),
    "V100-32GB": Device(32 * GIB, 125 * TERA, 15.7 * TERA, bf16=False),
    "V100-16GB": Device(16 * GIB, 125 * TERA, 15.7 * TERA, bf16=False),
    "T4": Device(16 * 10**9, 65 * TERA, 8.1 * TERA, bf16=False),
}

# What torch.cuda.get_device_name says, its longest match first.
_NAMES: tuple[tuple[str, GpuType], ...] = (
    ("H200", "H200"),
    ("H100 PCIe", "H100-PCIe"),
    ("H100", "H100"),
    ("A100-SXM4-80GB", "A100-80GB"),
    ("A100 80GB", "A100-80GB"),
    ("A100", "A100-40GB"),
    ("L40S", "L40S"),
    ("L4", "L4"),
    ("A10G", "A10G"),
    ("V100-SXM2-32GB", "V100-32GB"),
    ("V100", "V100-16GB"),
    ("T4", "T4"),
)


def gpu_type(name: str) -> GpuType | None:
    """The table's name of what torch calls a device (`NVIDIA H100 80GB HBM3`), or None."""
    words = name.replace("-", " ").split()
    for known, kind in _NAMES:
        parts = known.replace("-", " ").split()
        if any(words[at : at + len(parts)] == parts for at in range(len(words))):
            return kind
    return None


def peak_flops(kind: GpuType, precision: Precision) -> float | None:
    """FLOP/s at best in a precision; None where the device cannot do it."""
    device = DEVICES[kind]
    if precision == "fp32":
        return device.fp32_peak
    return device.half_peak if precision == "fp16" or device.bf16 else None
