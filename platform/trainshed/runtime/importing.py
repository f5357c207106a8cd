"""Heavy imports at less cost: nothing that a module defines is garbage while it is imported."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Python's garbage collector waits meanwhile, and passes over all that stands by then for as long as it runs.

    It would go through a million objects of torch and transformers again and again, for a sixth of their imports' time.
    """
    waits = not gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not waits:
            gc.freeze()
            gc.enable()
