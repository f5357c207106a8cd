"""Which weights are trained: low-rank adapters (peft), or all but the frozen ones. The only file that knows peft."""

from __future__ import annotations

import fnmatch
from typing import Any

import torch

from trainshed.errors import PlatformError
from trainshed.runtime.models.locate import first_line
from trainshed.spec.document.walk import nearest
from trainshed.spec.training.adapters import Lora

HEADS = ("classifier", "score", "classification_head", "pre_classifier")
"""Layers that begin without any knowledge when a model is made to classify: trained whole beside the adapters."""


def freeze(model: torch.nn.Module, patterns: tuple[str, ...]) -> None:
    """Takes gradients from the parameters whose names match.

    Raises:
        PlatformError: a pattern matches nothing, or nothing is left to train.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        matching = fnmatch.filter(parameters, pattern)
        if not matching:
            raise PlatformError(f"freeze: no parameter is called {pattern!r}; {nearest(pattern, parameters)}")
        for name in matching:
            parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise PlatformError("freeze: everything is frozen and nothing would be learnt; take a pattern out")


def add_adapters(model: torch.nn.Module, spec: Lora) -> Any:
    """The model with adapters beside its layers; only they, and a classifier's head, are trained.

    Raises:
        PlatformError: the model has no such layers.
    """
    from peft import LoraConfig, get_peft_model  # heavy, and wanted only here

    heads = [name for name in HEADS if hasattr(model, name)]
    auto: Any = "all-linear" if spec.target_modules in ("auto", "all-linear") else list(spec.target_modules)
    if spec.target_modules == "auto" and not heads:
        auto = _peft_adapts(model) or auto
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=int(spec.alpha) if float(spec.alpha).is_integer() else spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=auto,
        exclude_modules=heads or None,
        modules_to_save=heads or None,
        fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in model.modules()),
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise PlatformError(f"lora.target_modules: {first_line(error)}") from error


def merge_adapters(model: Any) -> Any:
    """The plain model with the adapters in its weights."""
    return model.merge_and_unload()


def _peft_adapts(model: torch.nn.Module) -> Any:
    """The layers that peft would choose of this architecture; None where it knows none.

    Left to choose by itself it refuses a mixture of experts.
    """
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN

    return KNOWN.get(getattr(getattr(model, "config", None), "model_type", None))
