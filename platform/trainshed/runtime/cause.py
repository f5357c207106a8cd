"""The innermost reason of a failure, in one line.

Ray wraps what a worker raised in errors of its own, several deep; the wrappers say much and explain little.
"""

from __future__ import annotations

import re

from ray.exceptions import UserCodeException

from trainshed.errors import PlatformError

MAX_CHARACTERS = 400
OWN_ERROR = re.compile(r"^trainshed\.errors\.\w+: (.+)$", re.MULTILINE)
"""Ray Data keeps what a task raised as text alone: the last resort, where no error of ours came through."""


def cause_of(error: BaseException) -> str:
    """`ErrorType: message` of the innermost error, with the worker it came from; our own errors are their message."""
    return _cause(error, str(error))


def _cause(error: BaseException, outermost: str) -> str:
    failures = getattr(error, "worker_failures", None)
    if failures:
        worker, inner = min(failures.items())
        return f"worker {worker}: {_cause(inner, str(inner))}"
    inner = getattr(error, "health_check_failure", None) or getattr(error, "cause", None) or error.__cause__
    if isinstance(inner, BaseException) and inner is not error:
        return _cause(inner, outermost)
    if isinstance(error, PlatformError):
        return _short(str(error))
    own = OWN_ERROR.findall(outermost) if isinstance(error, UserCodeException) else []
    return _short(own[0] if own else f"{type(error).__name__}: {error}")


def _short(message: str) -> str:
    words = " ".join(message.split())
    half = MAX_CHARACTERS // 2
    return words if len(words) <= MAX_CHARACTERS else f"{words[:half]} ... {words[-half:]}"
