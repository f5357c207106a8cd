"""The text engines of an endpoint behind one protocol, and which one it gets."""

from __future__ import annotations

from pathlib import Path

from trainshed.runtime.generation.rules import Sampling
from trainshed.runtime.serving.engines.engine import (
    EngineDeadError,
    EngineFullError,
    EngineSettings,
    Finish,
    RequestError,
    Step,
    TextEngine,
)

__all__ = [
    "EngineDeadError",
    "EngineFullError",
    "EngineSettings",
    "Finish",
    "RequestError",
    "Sampling",
    "Step",
    "TextEngine",
    "build_engine",
]


def build_engine(model_dir: Path, settings: EngineSettings) -> TextEngine:
    """The model of a local Hugging Face directory, loaded and running in a process of its own.

    Raises:
        PlatformError: the directory cannot be served; the message says what is missing.
    """
    from trainshed.runtime.serving.engines.continuous import ContinuousEngine  # tokenizers

    return ContinuousEngine(model_dir, settings)
