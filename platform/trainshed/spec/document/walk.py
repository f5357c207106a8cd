"""Finding one's way in the job classes by the path of a key: which class stands there, which names it knows.

Used for the nearest name of an unknown key and for dotted paths; knows nothing of YAML.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable
from functools import cache
from typing import Any

from trainshed.spec.document.part import Part
from trainshed.spec.document.yaml_tree import Path, item


def parts_of(annotation: Any) -> list[type[Part]]:
    """Every Part class an annotation may hold, through Annotated, Optional, unions, tuples and dicts."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return [annotation]
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return parts_of(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType, tuple, dict):
        return [part for argument in typing.get_args(annotation) for part in parts_of(argument)]
    return []


@cache
def keys_of(part: type[Part]) -> dict[str, Any]:
    """The keys of a Part as a user writes them, with their annotations."""
    return {field.alias or name: field.annotation for name, field in part.model_fields.items()}


def choose(parts: list[type[Part]], data: Any) -> type[Part] | None:
    """The class of several that `data` means: by its kind, else the one of which the fewest fields are missing.

    Of those that lack the same number of keys, the one with the most keys in common.
    """
    if len(parts) <= 1:
        return parts[0] if parts else None
    keys = set(data) if isinstance(data, dict) else set()
    kind = data.get("kind") if isinstance(data, dict) else None
    same_kind = [part for part in parts if _kind_of(part) == kind] or parts
    return max(same_kind, key=lambda part: (-len(_needed_by(part) - keys), len(keys & set(keys_of(part)))))


def part_at(parts: list[type[Part]], data: Any, path: Path) -> type[Part] | None:
    """The class at `path` under one of `parts`, choosing by what `data` says; None where there is none."""
    part = choose(parts, data)
    for element in path:
        if isinstance(element, int):
            data = item(data, element)
            part = choose(parts, data)
            continue
        annotation = keys_of(part).get(element) if part else None
        data = item(data, element)
        if annotation is None and part is not None:
            return None
        if annotation is not None:
            parts = parts_of(annotation)
        part = choose(parts, data) if not _is_dict(annotation) else None
    return part


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` or, where nothing is near, the names there are."""
    names = sorted(names)
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {match[0]!r}?" if match else f"known here: {', '.join(names)}"


@cache
def _needed_by(part: type[Part]) -> frozenset[str]:
    return frozenset(field.alias or name for name, field in part.model_fields.items() if field.is_required())


@cache
def _kind_of(part: type[Part]) -> str | None:
    annotation = keys_of(part).get("kind")
    values = typing.get_args(annotation)
    return values[0] if values else None


def _is_dict(annotation: Any) -> bool:
    return typing.get_origin(annotation) is dict
