"""Do two jobs describe models of the same shape? As far as both are spelled out; others are compared on the cluster."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, JsonValue

WITHOUT_SHAPE = ("mup_base_width",)
"""Fields of a model that its weights' shapes do not follow from, beside those of dropout."""
UNKNOWN = ("config", "pretrained")


SIZES = {
    "width": ("hidden_size", "d_model", "n_embd", "dim"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "key-value heads": ("num_key_value_heads",),
}
"""Sizes by which two models of one architecture differ, and their names in config.json."""


def config_shape(config: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The architecture and the sizes that a config.json names."""
    sizes = {what: next((config[name] for name in names if name in config), None) for what, names in SIZES.items()}
    return {"model_type": config.get("model_type"), **{what: size for what, size in sizes.items() if size is not None}}


def config_misfit(config: Mapping[str, JsonValue], shape: Mapping[str, JsonValue] | None) -> str | None:
    """Why a model of this config.json has another shape, in one line; None where it does not, or nobody says one."""
    own = config_shape(config)
    for what, size in (shape or {}).items():
        if what in own and own[what] != size:
            if what == "model_type":
                return f"is a {size}, and the model a {own[what]}"
            return f"has {what} {size}, and the model {own[what]}"
    return None


def shape_misfit(own: BaseModel, other: BaseModel) -> str | None:
    """Why the weights of another model are of another shape, in one line; None where they are not, or nobody knows."""
    mine = own.model_dump()
    theirs = other.model_dump()
    if mine["kind"] in UNKNOWN or theirs["kind"] in UNKNOWN:
        return None
    if mine["kind"] != theirs["kind"]:
        return f"its model is a {theirs['kind']}, this one a {mine['kind']}"
    for key, value in mine.items():
        has_shape = key not in WITHOUT_SHAPE and not key.endswith("dropout")
        known = value is not None and theirs[key] is not None
        if has_shape and known and value != theirs[key]:
            return f"its model has {key} {theirs[key]}, this one {value}"
    return None
