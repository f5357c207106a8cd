"""What one worker may use: the memory a job declares, its GPU's, or this machine's share."""

from __future__ import annotations

from dataclasses import dataclass

from trainshed.spec.devices import DEVICES
from trainshed.spec.workers import Workers

GPU_RESERVE = 0.08
"""Of a GPU's memory: CUDA's own, kernels, and holes between blocks of torch's allocator."""
PROCESS_BYTES = 700 * 10**6
"""A worker's process before it has a model: Python, torch, DeepSpeed, Ray."""


@dataclass(frozen=True)
class Limit:
    """Bytes that a worker may use, and who says so."""

    bytes: int
    source: str


def limits_of(workers: Workers, machine_bytes: int | None) -> tuple[Limit, ...]:
    """What is known of a worker's memory, the tightest first; `machine_bytes` is this machine's."""
    found = []
    if workers.memory_gb is not None:
        found.append(Limit(int(workers.memory_gb * 10**9), "workers.memory_gb"))
    elif workers.gpu_type is not None:
        usable = DEVICES[workers.gpu_type].memory_bytes * min(1.0, workers.gpus) * (1 - GPU_RESERVE)
        found.append(Limit(int(usable), f"{workers.gpu_type} less {GPU_RESERVE:.0%}"))
    if not workers.gpus and machine_bytes is not None:
        share = machine_bytes // workers.max_count
        found.append(Limit(max(share // 2, share - PROCESS_BYTES), "this machine's memory / workers"))
    return tuple(sorted(found, key=lambda limit: limit.bytes))
