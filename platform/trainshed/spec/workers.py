"""The processes that train, and what each one gets."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from trainshed.spec.devices import GpuType
from trainshed.spec.part import Count, NonNegative, Part, Positive


class Workers(Part):
    """How many processes train, and what each one gets."""

    count: Count = 1
    gpus: NonNegative = 0
    """GPUs per worker."""
    gpu_type: GpuType | None = None
    """The GPU each worker gets; the plan knows its memory and peak."""
    cpus: Positive = 1
    """CPUs per worker."""
    per_device_batch_size: Count | Literal["auto"] = 8
    """Samples in one forward pass of one worker; `auto` is the most that fits, chosen by the plan."""
    memory_gb: Positive | None = None
    """Memory of one worker's device; the plan refuses what is over it. The GPU's where it is not given."""

    @model_validator(mode="after")
    def _gpu_type_needs_gpus(self) -> Workers:
        if self.gpu_type is not None and self.gpus == 0:
            raise ValueError(f"gpu_type {self.gpu_type} needs gpus above 0, got 0; set gpus: 1, or leave gpu_type out")
        return self

    @property
    def min_count(self) -> int:
        """The fewest workers that go on."""
        return self.count

    @property
    def max_count(self) -> int:
        """The most workers that are started."""
        return self.count

    @property
    def per_device(self) -> int:
        """`per_device_batch_size` as the number it is once the plan has resolved it."""
        if self.per_device_batch_size == "auto":
            raise ValueError(
                "workers.per_device_batch_size is still auto; the plan resolves it before a job is handed over"
            )
        return self.per_device_batch_size
