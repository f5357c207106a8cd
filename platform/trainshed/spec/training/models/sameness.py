"""Do two jobs describe models of the same shape? As far as both are spelled out; others are compared on the cluster."""

from __future__ import annotations

from pydantic import BaseModel

WITHOUT_SHAPE = ("mup_base_width",)
"""Fields of a model that its weights' shapes do not follow from, beside those of dropout."""
UNKNOWN = ("config", "pretrained")


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
