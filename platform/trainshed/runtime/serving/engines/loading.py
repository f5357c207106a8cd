"""A local Hugging Face directory as a model and a tokenizer, with one clear line where it cannot be served.

Never runs code of the directory and never asks a hub.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainshed.errors import PlatformError

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")


def load_tokenizer(model_dir: Path) -> Any:
    """The directory's own tokenizer.

    Raises:
        PlatformError: no directory, or none in it. (transformers would return one of a single token and say nothing.)
    """
    if not model_dir.is_dir():
        raise PlatformError(f"{model_dir}: no such directory on this node")
    if not any((model_dir / name).is_file() for name in _TOKENIZER_FILES):
        raise PlatformError(
            f"{model_dir}: no tokenizer there; one of {', '.join(_TOKENIZER_FILES)} must stand beside it"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PlatformError(f"{model_dir}: the tokenizer cannot be read: {_first_line(error)}") from error
    if len(tokenizer) < 2:
        raise PlatformError(f"{model_dir}: the tokenizer has {len(tokenizer)} tokens; its files are not complete")
    return tokenizer


def load_model(model_dir: Path, *, attention: str, gpu: bool) -> Any:
    """The directory's causal language model in evaluation mode, in the type its weights were saved in.

    Raises:
        PlatformError: no directory, no safetensors, an architecture that does not generate text.
    """
    if not (model_dir / "config.json").is_file():
        raise PlatformError(f"{model_dir}: no model there: config.json is missing")
    if not any(model_dir.glob("*.safetensors")):
        raise PlatformError(f"{model_dir}: no *.safetensors there; weights in other formats are not loaded")
    if gpu and not torch.cuda.is_available():
        raise PlatformError("replicas.gpus is over 0, but torch finds no GPU on this node")
    try:
        model = AutoModelForCausalLM.from_pretrained(
            model_dir,
            attn_implementation=attention,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise PlatformError(f"{model_dir}: the model cannot be loaded: {_first_line(error)}") from error
    return model.to("cuda" if gpu else "cpu").eval()


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an answer: the generation config's, else the model's, else the tokenizer's."""
    for source in (model.generation_config, model.config, tokenizer):
        found = getattr(source, "eos_token_id", None)
        if found is not None:
            return list(found) if isinstance(found, (list, tuple)) else [int(found)]
    return []


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
