"""Which weights are trained: low-rank adapters (peft), or all but the frozen ones. The only file that knows peft."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from trainshed.errors import PlatformError
from trainshed.runtime.models.locate import first_line
from trainshed.runtime.models.outline import DONE
from trainshed.runtime.tasks.making import lay_placeholders
from trainshed.spec.document.walk import nearest
from trainshed.spec.training.adapters import Lora

HEADS = ("classifier", "score", "classification_head", "pre_classifier")
"""Layers that begin without any knowledge when a model is made to classify: trained whole beside the adapters."""
ADAPTER = "default"
"""What peft calls the one set of adapters that there is."""
WEIGHTS = "adapter_model.safetensors"


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


def add_switch(adapted: Any) -> Any:
    """Has a model with adapters take `without_adapters`: that pass is the plain model's, without dropout.

    Engines hand it through like any other argument, and a copy of the model has a switch of its own.
    """

    def forward(own: Any, *arguments: Any, without_adapters: bool = False, **named: Any) -> Any:
        plain = partial(type(own).forward, own)
        if not without_adapters:
            return plain(*arguments, **named)
        learns = own.training
        own.eval()
        try:
            with own.disable_adapter():
                return plain(*arguments, **named)
        finally:
            own.train(learns)

    adapted.forward = MethodType(forward, adapted)
    return adapted


def add_adapters_to_outline(model: PreTrainedModel, spec: Lora) -> Any:
    """As `add_adapters`, of a model without memory; the adapters have theirs, and the same weights are drawn for them.

    Heads that are trained whole get their weights by `fill_heads`.
    """
    lay_placeholders(model)  # peft moves adapters to where the weights are
    adapted = add_adapters(model, spec)
    for name, module in model.named_modules():
        if any(part.startswith("lora_") or part == "modules_to_save" for part in name.split(".")):
            setattr(module, DONE, True)
    return adapted


def adapts_layers_alone(adapted: Any, layers: Iterable[str]) -> bool:
    """Whether every adapter stands in one of the layers, by their names in the plain model."""
    inside = tuple(f"{layer}." for layer in layers)
    plain = adapted.get_base_model()
    return all(name.startswith(inside) for name, module in plain.named_modules() if hasattr(module, "base_layer"))


def plain_name(name: str) -> str:
    """The name that a weight has where there are no adapters."""
    return ".".join(part for part in name.split(".") if part not in ("base_layer", "original_module"))


def heads_in(model: torch.nn.Module) -> list[str]:
    """The modules of heads that are trained whole, twice each: as they were, and as they are trained."""
    owners = [name for name, module in model.named_modules() if hasattr(module, "original_module")]
    return [name for name, _ in model.named_modules() if any(name.startswith(f"{owner}.") for owner in owners)]


@torch.no_grad()
def fill_heads(model: PreTrainedModel) -> None:
    """Copies heads that are trained whole from the model's own, which have their weights now."""
    for module in model.modules():
        if hasattr(module, "original_module"):
            module.modules_to_save[ADAPTER].load_state_dict(module.original_module.state_dict())


def check_adapters_hold(fresh: Collection[str]) -> None:
    """Weights that begin as random numbers must go out with the adapters: nobody else has them.

    Raises:
        PlatformError: some are in no layer that is trained whole.
    """
    outside = sorted(name for name in fresh if name.partition(".")[0] not in HEADS)
    if outside:
        raise PlatformError(
            f"export.adapters: {outside[0]} is not in the model's files: it begins with random weights, stays as it "
            "is beside the adapters, and would not go out with them; say merged"
        )


def tie_again(model: Any) -> None:
    """A head that has the weights of the embeddings, and no adapter of its own, has them again; else peft unties it."""
    embeddings = model.get_input_embeddings()
    head = model.get_output_embeddings()
    parts = (embeddings, head)
    are_plain = all(part is not None and not hasattr(part, "base_layer") for part in parts)
    if (
        are_plain
        and getattr(model.config, "tie_word_embeddings", False)
        and embeddings.weight.shape == head.weight.shape
    ):
        head.weight = embeddings.weight


def merge_adapters(model: Any) -> Any:
    """The plain model with the adapters in its weights, which are in fp32: a change may be less than bf16 tells."""
    return model.merge_and_unload()


def save_adapters(model: Any, folder: Path, *, base: str, revision: str | None) -> None:
    """adapter_model.safetensors and adapter_config.json, which names the model that the adapters belong to."""
    from peft import get_peft_model_state_dict

    config = copy.copy(model.peft_config[ADAPTER])
    config.base_model_name_or_path = base
    config.revision = revision
    config.inference_mode = True
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS, {"format": "pt"})
    config.save_pretrained(str(folder))


def with_saved_adapters(model: torch.nn.Module, folder: Path) -> Any:
    """A model with adapters that were saved; the hub is not asked."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(folder), autocast_adapter_dtype=False)


def _peft_adapts(model: torch.nn.Module) -> Any:
    """The layers that peft would choose of this architecture; None where it knows none.

    Left to choose by itself it refuses a mixture of experts.
    """
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN

    return KNOWN.get(getattr(getattr(model, "config", None), "model_type", None))
