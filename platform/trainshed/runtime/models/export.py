"""A local Hugging Face directory as a model and a tokenizer, with one clear line where it cannot be served.

Never runs code of the directory and never asks a hub.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from trainshed.errors import PlatformError
from trainshed.runtime.encoding import TOKENIZER, ConversationEncoder
from trainshed.runtime.models.load import load_whole
from trainshed.runtime.models.locate import LOAD_ERRORS, first_line


def load_tokenizer(model_dir: Path) -> Any:
    """The directory's own tokenizer; its files are there, see `folder`.

    Raises:
        PlatformError: they cannot be read.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True, trust_remote_code=False)
    except LOAD_ERRORS as error:
        raise PlatformError(f"{model_dir}: the tokenizer cannot be read: {first_line(error)}") from error
    if len(tokenizer) < 2:
        raise PlatformError(f"{model_dir}: the tokenizer has {len(tokenizer)} tokens; its files are not complete")
    return tokenizer


def load_model(
    model_dir: Path,
    *,
    attention: str | None = None,
    gpu: bool = False,
    auto: Any = AutoModelForCausalLM,
    dtype: torch.dtype | Literal["auto"] = "auto",
) -> Any:
    """The directory's model in evaluation mode, in the type its weights were saved in if nothing else is said.

    `auto` is one of transformers' AutoModel classes; what answers questions is a causal language model.

    Raises:
        PlatformError: no safetensors, weights that are missing or of another model, an architecture that does not
            generate text.
    """
    if gpu and not torch.cuda.is_available():
        raise PlatformError("replicas.gpus is over 0, but torch finds no GPU on this node")
    try:
        config = AutoConfig.from_pretrained(model_dir, local_files_only=True, trust_remote_code=False)
    except LOAD_ERRORS as error:
        raise PlatformError(f"{model_dir}: config.json cannot be read: {first_line(error)}") from error
    loaded = load_whole(
        auto,
        str(model_dir),
        str(model_dir),
        config=config,
        dtype=dtype,
        local_files_only=True,
        attention=attention,
    )
    if loaded.remarks:
        raise PlatformError(f"{model_dir}: {loaded.remarks[0]}; that cannot be served")
    return loaded.model.to("cuda" if gpu else "cpu").eval()


def end_tokens(model_dir: Path, model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Every token that ends an answer: what the model's files name, and what its chat template closes a turn with."""
    found: list[int] = []
    for source in (model.generation_config, model.config, tokenizer):
        named = getattr(source, "eos_token_id", None)
        if named is not None:
            found += named if isinstance(named, (list, tuple)) else [named]
    encoder = ConversationEncoder.read(model_dir, obey=False) if (model_dir / TOKENIZER).is_file() else None
    if encoder is not None:
        found += encoder.ends
    return tuple(dict.fromkeys(map(int, found)))
