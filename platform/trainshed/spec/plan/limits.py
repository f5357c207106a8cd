"""What one worker may use: the memory a job declares, its GPU's, or this machine's share."""

from __future__ import annotations

from dataclasses import dataclass

from trainshed.spec.devices import DEVICES
from trainshed.spec.training.workers import Workers

GPU_RESERVE = 0.08
"""Of a GPU's memory: CUDA's own, kernels, and holes between blocks of torch's allocator."""
CUDA_BYTES = 600 * 10**6
"""What each process holds of a GPU that several share: CUDA's own, and the kernels of its libraries."""
PROCESS_BYTES = 700 * 10**6
"""A worker's process before it has a model: Python, torch, DeepSpeed, Ray."""


@dataclass(frozen=True)
class Limit:
    """Bytes that a worker may use, and who says so."""

    bytes: int
    source: str


def usable(memory_bytes: int, share: float) -> int:
    """Bytes that a process may fill of its `share` of a GPU: less a reserve, and where others share it less CUDA's."""
    own = memory_bytes * share
    left = own * (1 - GPU_RESERVE)
    return max(0, int(left if share >= 1 else min(left, own - CUDA_BYTES)))


def limits_of(workers: Workers, machine_bytes: int | None, *, trials: int = 1) -> tuple[Limit, ...]:
    """What is known of a worker's memory, the tightest first; `machine_bytes` is this machine's.

    `trials` of a sweep share its device.
    """
    found = []
    if workers.memory_gb is not None:
        own = int(workers.memory_gb * 10**9) // trials
        found.append(Limit(own if trials == 1 else max(0, own - CUDA_BYTES), "workers.memory_gb"))
    elif workers.gpu_type is not None:
        whole = DEVICES[workers.gpu_type].memory_bytes
        share = min(1.0, workers.gpus) / trials
        found.append(Limit(usable(whole, share), f"{workers.gpu_type} less {GPU_RESERVE:.0%}"))
    if not workers.gpus and machine_bytes is not None:
        share = machine_bytes // workers.max_count
        found.append(Limit(max(share // 2, share - PROCESS_BYTES), "this machine's memory / workers"))
    return tuple(sorted(found, key=lambda limit: limit.bytes))
