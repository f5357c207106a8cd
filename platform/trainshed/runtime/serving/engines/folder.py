"""Whether the files of a model lie in a folder at all: seen before seconds are spent on a process that would load them.

Knows their names; reads none of them.
"""

from __future__ import annotations

from pathlib import Path

from trainshed.errors import PlatformError

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")


def check_files(model_dir: Path) -> None:
    """Looks for a tokenizer and a configuration. (transformers would return a tokenizer of one token and say nothing.)

    Raises:
        PlatformError: no directory, or one of them is missing.
    """
    if not model_dir.is_dir():
        raise PlatformError(f"{model_dir}: no such directory on this node")
    if not any((model_dir / name).is_file() for name in _TOKENIZER_FILES):
        raise PlatformError(
            f"{model_dir}: no tokenizer there; one of {', '.join(_TOKENIZER_FILES)} must stand beside it"
        )
    if not (model_dir / "config.json").is_file():
        raise PlatformError(f"{model_dir}: no model there: config.json is missing")
