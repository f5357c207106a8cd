"""What kind of failure ended a trial; each kind is answered in its own way."""

from __future__ import annotations

from typing import Literal

import torch
from ray.exceptions import OutOfMemoryError, RayError

from trainshed.spec.train import Training

Kind = Literal["memory", "diverged", "lost", "code"]
"""Out of memory; a loss that is no number; a process or machine that is gone; an error of the code or the job."""

MEMORY_WORDS = ("out of memory", "cannot allocate memory", "can't allocate memory", "not enough memory", "bad_alloc")
DIVERGED_WORDS = ("the loss is nan", "the loss is inf", "the loss is -inf")


def kind_of(error: BaseException) -> Kind:
    """Looks through what Ray has wrapped around it."""
    chain = list(_chain(error))
    words = " ".join(str(one).lower() for one in chain)
    memory = (MemoryError, OutOfMemoryError, torch.cuda.OutOfMemoryError)
    if any(isinstance(one, memory) for one in chain) or any(word in words for word in MEMORY_WORDS):
        return "memory"
    if any(word in words for word in DIVERGED_WORDS):
        return "diverged"
    return "lost" if isinstance(chain[-1], RayError) else "code"


def with_half_the_batch(training: Training) -> Training | None:
    """The same training with half the samples a pass, and so twice the passes a step; None: there is no half."""
    per_device = training.workers.per_device
    if per_device % 2:
        return None
    workers = training.workers.model_copy(update={"per_device_batch_size": per_device // 2})
    return training.model_copy(update={"workers": workers})


def _chain(error: BaseException) -> list[BaseException]:
    found = [error]
    failures = getattr(error, "worker_failures", None)
    inner = next(iter(failures.values())) if failures else getattr(error, "cause", None) or error.__cause__
    if isinstance(inner, BaseException) and inner is not error:
        found += _chain(inner)
    return found
