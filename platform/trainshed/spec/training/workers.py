"""The processes that train, and what each one gets."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag, field_validator, model_validator

from trainshed.spec.devices import GpuType
from trainshed.spec.document.part import Count, NonNegative, Part, Positive


def _count_tag(value: Any) -> str:
    return "range" if isinstance(value, list | tuple) else "fixed"


CountOrRange = Annotated[
    Annotated[Count, Tag("fixed")] | Annotated[tuple[Count, Count], Tag("range")], Discriminator(_count_tag)
]
"""A number, or `[fewest, most]`."""


class Workers(Part):
    """How many processes train, and what each one gets."""

    count: CountOrRange = 1
    """So many; `[1, 4]` goes on with what is there between the two, and grows back when there is room."""
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

    silent_timeout_s: Positive = 20
    """A worker that has not beaten for so long on a quiet machine is killed and started again. It beats once a second,
    whatever it computes; on a busy machine it is waited for as many times longer as processes wait for each core."""
    hang_timeout_s: Positive = 300
    """A training that has made no step for so long is taken as hung: its workers are killed and started again."""
    start_timeout_s: Positive = 1800
    """The same until the first step is done, if it is the longer: a model may have to be downloaded, or compiled."""

    spares: bool = False
    """For each worker a process that stands by with everything loaded: a restart is seconds faster, for about 0.5 GB of
    memory each. Without GPUs only."""

    @model_validator(mode="after")
    def _spares_have_no_gpu(self) -> Workers:
        if self.spares and self.gpus:
            raise ValueError("spares are for workers without GPUs: Ray gives a process its GPUs when it is made")
        return self

    @field_validator("count")
    @classmethod
    def _fewest_first(cls, count: int | tuple[int, int]) -> int | tuple[int, int]:
        if isinstance(count, tuple) and count[0] >= count[1]:
            raise ValueError(f"a range is [fewest, most] with fewest under most, got [{count[0]}, {count[1]}]")
        return count

    @model_validator(mode="after")
    def _gpu_type_needs_gpus(self) -> Workers:
        if self.gpu_type is not None and self.gpus == 0:
            raise ValueError(f"gpu_type {self.gpu_type} needs gpus above 0, got 0; set gpus: 1, or leave gpu_type out")
        return self

    @property
    def min_count(self) -> int:
        """The fewest workers that go on."""
        return self.count[0] if isinstance(self.count, tuple) else self.count

    @property
    def max_count(self) -> int:
        """The most workers that are started."""
        return self.count[1] if isinstance(self.count, tuple) else self.count

    @property
    def per_device(self) -> int:
        """`per_device_batch_size` as the number it is once the plan has resolved it."""
        if self.per_device_batch_size == "auto":
            raise ValueError(
                "workers.per_device_batch_size is still auto; the plan resolves it before a job is handed over"
            )
        return self.per_device_batch_size
