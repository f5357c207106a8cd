"""How much memory this worker has needed at most."""

from __future__ import annotations

import resource
import sys

import torch


def peak_megabytes(device: torch.device) -> float:
    """The GPU's peak of allocated memory, else the process's peak resident set; in MB (10^6 bytes)."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
