"""Dotted paths into a job: what `--set` and the space of a sweep share.

`optimizer.learning_rate` replaces one value; `schedule.kind` changes the class and keeps the fields the new class also
has. The result is validated as if the document had said it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from trainshed.errors import Fault, SpecError
from trainshed.spec.document.faults import explain, validate
from trainshed.spec.document.part import Part
from trainshed.spec.document.walk import choose, keys_of, nearest, part_at, parts_of
from trainshed.spec.document.yaml_tree import Document

AnyPart = TypeVar("AnyPart", bound=Part)


def override(part: AnyPart, values: Mapping[str, Any], *, file: str = "--set", line: int = 0) -> AnyPart:
    """A copy of `part` with each dotted path set to its value.

    Raises:
        SpecError: a path that is not there (with the nearest name), or a value that cannot stand there.
    """
    data = part.model_dump(mode="json", by_alias=True)
    for path, value in sorted(values.items(), key=lambda item: (not item[0].endswith("kind"), item[0])):
        try:
            _put(type(part), data, path, copy.deepcopy(value))  # a later path may lie inside of it
        except KeyError as error:
            raise SpecError([Fault(file, line, path, str(error.args[0]))]) from None
    try:
        return TypeAdapter(type(part)).validate_python(validate(TypeAdapter(type(part)), data))
    except ValidationError as error:
        found = explain(error, Document(file, line, data), [type(part)])
        given = next(iter(values)) if len(values) == 1 else ""
        raise SpecError([Fault(file, line, given or fault.key, _with_key(fault, given)) for fault in found]) from None


def _put(root: type[Part], data: dict[str, Any], path: str, value: Any) -> None:
    keys = path.split(".")
    here: Any = data
    for depth, key in enumerate(keys):
        part = part_at([root], data, tuple(keys[:depth]))
        if part is None or not isinstance(here, dict):
            raise KeyError(f"{'.'.join(keys[:depth])} is a single value and has nothing inside it")
        if key not in keys_of(part):
            raise KeyError(f"unknown path; {nearest(key, keys_of(part))}")
        if depth < len(keys) - 1:
            here[key] = {} if here.get(key) is None else here[key]
            here = here[key]
    if keys[-1] == "kind" and here.get("kind") != value:
        _change_kind(root, data, keys, here, value)
    here[keys[-1]] = value


def _change_kind(root: type[Part], data: dict[str, Any], keys: list[str], here: dict[str, Any], kind: Any) -> None:
    parent = part_at([root], data, tuple(keys[:-2])) if len(keys) > 1 else None
    parts = parts_of(keys_of(parent)[keys[-2]]) if parent else [root]
    new = choose(parts, {"kind": kind})
    for key in set(here) - set(keys_of(new) if new else ()):
        del here[key]


def _with_key(fault: Fault, given: str) -> str:
    return fault.message if not given or fault.key in ("", given) else f"{fault.key}: {fault.message}"
