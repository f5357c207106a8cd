"""Heavy imports at less cost: nothing that a module defines is garbage while it is imported."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Within it Python's garbage collector waits; what stands at its end, the collector passes over ever after.

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
