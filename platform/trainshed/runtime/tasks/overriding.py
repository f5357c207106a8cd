"""What a job says over the configuration of an existing model: dropout, rotary positions, attention, more tokens.

Each is refused by name where the family has no such thing: transformers would take any name, and use none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from trainshed.errors import PlatformError
from trainshed.spec.document.walk import nearest
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.models.given import RopeScaling, dropout_fields

OF_LLAMA3 = ("low_freq_factor", "high_freq_factor")
OF_YARN = ("beta_fast", "beta_slow")


def overridden(spec: Pretrained, config: PreTrainedConfig) -> PreTrainedConfig:
    """The configuration with what the job says over it.

    Raises:
        PlatformError: the family has no such field.
    """
    if spec.dropout is not None:
        _set_dropout(spec.dropout, config)
    if spec.rope_scaling is not None:
        _stretch(spec.rope_scaling, config)
    return config


def check_attention(spec: Pretrained, auto: Any, config: PreTrainedConfig) -> None:
    """Raises PlatformError where the family has no attention of that implementation."""
    family = auto._model_mapping[type(config)]
    there = {"eager": True, "sdpa": family._supports_sdpa, "flash_attention_2": family._supports_flash_attn}
    if spec.attn_implementation is not None and not there[spec.attn_implementation]:
        others = " or ".join(name for name, is_there in there.items() if is_there)
        raise PlatformError(
            f"model.attn_implementation: a {config.model_type} has no {spec.attn_implementation}; say {others}"
        )


def grow_embeddings(model: PreTrainedModel, vocab_size: int) -> None:
    """Rows for new tokens, drawn around the mean of those that are there, as transformers does it; none are taken away.

    A model that has rows to spare, as some have, keeps them as they are.
    """
    if vocab_size > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(vocab_size, mean_resizing=True)


def _set_dropout(said: float | Mapping[str, float], config: PreTrainedConfig) -> None:
    there = dropout_fields(config.to_dict())
    if not there:
        raise PlatformError(f"model.dropout: a {config.model_type} has no field of dropout; leave it out")
    values = said if isinstance(said, Mapping) else dict.fromkeys(there, said)
    for name, value in values.items():
        if name not in there:
            raise PlatformError(f"model.dropout.{name}: a {config.model_type} has none; {nearest(name, there)}")
        setattr(config, name, value)


def _stretch(said: RopeScaling, config: PreTrainedConfig) -> None:
    own = getattr(config, "rope_parameters", None)
    if not own:
        raise PlatformError(f"model.rope_scaling: a {config.model_type} has no rotary positions; leave it out")
    if any(isinstance(value, Mapping) for value in own.values()):
        raise PlatformError(
            f"model.rope_scaling: a {config.model_type} has other rotary positions in each type of layer, and one "
            "scaling does not say them; save its config.json with those it is to have"
        )
    before = said.original_max_position_embeddings or int(config.max_position_embeddings)
    names = {"linear": (), "llama3": OF_LLAMA3, "yarn": OF_YARN}[said.rope_type]
    kept = {name: own[name] for name in ("rope_theta", "partial_rotary_factor") if name in own}
    config.rope_parameters = {
        **kept,
        "rope_type": said.rope_type,
        "factor": said.factor,
        "original_max_position_embeddings": before,
        **{name: getattr(said, name) for name in names},
    }
    config.max_position_embeddings = max(int(config.max_position_embeddings), int(before * said.factor))
