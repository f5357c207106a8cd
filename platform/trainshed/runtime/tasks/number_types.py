"""Types of numbers: in which one the weights of a model are stored, and in which one they are written.

Knows torch's types and those of safetensors; knows no precision of a training.
"""

from __future__ import annotations

import re
from typing import Any, Literal, assert_never

import torch
from transformers import PreTrainedConfig

from trainshed.errors import UsageError
from trainshed.runtime.models.beside import folder_of
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.models.folder import stored_type

STORED = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def stored_in(spec: Pretrained, config: PreTrainedConfig) -> torch.dtype:
    """The type that most weights of an existing model have; fp32 where it is one that nobody trains in."""
    try:
        return STORED.get(stored_type(folder_of(spec)), torch.float32)
    except UsageError:  # a hub converts files that are no safetensors, and keeps them elsewhere
        said = config.dtype
        return said if isinstance(said, torch.dtype) and said in STORED.values() else torch.float32


def written_in(asked: Literal["as_loaded", "bf16", "fp32"], stored: torch.dtype) -> torch.dtype:
    """The type in which weights go out that were stored in another, or in the same."""
    match asked:
        case "as_loaded":
            return stored
        case "bf16":
            return torch.bfloat16
        case "fp32":
            return torch.float32
        case _:
            assert_never(asked)


@torch.no_grad()
def in_type(model: Any, dtype: torch.dtype) -> None:
    """Converts the weights of a transformers model in place, but for those that it computes with in fp32 always."""
    kept = getattr(model, "_keep_in_fp32_modules_strict", None) or ()
    exact = re.compile("|".join(rf"(^|\.){re.escape(name)}($|\.)" for name in kept)) if kept else None
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and not tensor.is_meta and (exact is None or not exact.search(name)):
            tensor.data = tensor.data.to(dtype)
    if hasattr(model, "config"):
        model.config.dtype = dtype
