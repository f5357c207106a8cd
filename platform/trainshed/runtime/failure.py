"""What kind of failure an error is, by its class and its fields; never by the words of its message.

Looks through what Ray and we ourselves have wrapped around it. Knows nothing of what follows from a kind.
"""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator

from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, UserCodeException

from trainshed.errors import DivergedError, FailureKind

CUDA_OUT_OF_MEMORY = 2
"""cudaErrorMemoryAllocation, in the `error_code` of torch's AcceleratorError."""
RAISED_AT = re.compile(r"\[(?:enforce fail at )?(?P<file>[^\]\s]+):\d+\]")
"""torch's C++ and gloo have no classes in Python: a bare RuntimeError, with the source line that raised it in front."""
CPU_ALLOCATOR = "alloc_cpu.cpp"
GLOO = "/gloo/transport/"


def kind_of(error: BaseException) -> FailureKind:
    """The kind of a failure. One worker's own error says more than what the others lost by it."""
    found = list(_inside(error))
    if any(_is_memory(one) for one in found):
        return FailureKind.MEMORY
    if any(isinstance(one, DivergedError) for one in found):
        return FailureKind.DIVERGED
    return FailureKind.LOST if all(is_lost(one) for one in innermost(error)) else FailureKind.CODE


def innermost(error: BaseException) -> list[BaseException]:
    """What was raised first, by each worker that failed."""
    inner = _wrapped(error)
    return [leaf for one in inner for leaf in innermost(one)] if inner else [error]


def is_lost(error: BaseException) -> bool:
    """Whether this says that a process, a machine or the connection to one is gone."""
    if isinstance(error, RayTaskError | UserCodeException):  # code raised it, and it could not be brought here
        return False
    lost = (RayError, ConnectionError, *_of_torch("distributed", "DistError"))
    return isinstance(error, lost) or GLOO in _at(error)


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, OutOfMemoryError, *_of_torch("cuda", "OutOfMemoryError"))):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return getattr(error, "error_code", None) == CUDA_OUT_OF_MEMORY or _at(error) == CPU_ALLOCATOR


def _at(error: BaseException) -> str:
    """The C++ source file that raised it; empty where Python did."""
    found = RAISED_AT.match(str(error)) if type(error) is RuntimeError else None
    return found["file"] if found else ""


def _of_torch(module: str, name: str) -> list[type[BaseException]]:
    """A class of torch's. An error of it can only be where torch is: so a driver without torch need not load it."""
    found = sys.modules.get(f"torch.{module}")
    return [getattr(found, name)] if found is not None else []


def _inside(error: BaseException) -> Iterator[BaseException]:
    """The error, and all that it wraps."""
    yield error
    for inner in _wrapped(error):
        yield from _inside(inner)


def _wrapped(error: BaseException) -> list[BaseException]:
    """Ray Train's error holds one of each worker that failed; others hold one, under several names."""
    failures = getattr(error, "worker_failures", None)
    if failures:
        return [one for _, one in sorted(failures.items())]
    for name in ("controller_failure", "health_check_failure", "cause", "__cause__"):
        inner = getattr(error, name, None)
        if isinstance(inner, BaseException) and inner is not error:
            return [inner]
    return []
