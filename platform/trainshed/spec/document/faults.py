"""Pydantic's errors as one clear line each: where, which key, what it got, what to do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from trainshed.errors import Fault
from trainshed.spec.document.part import SAID_OF_PATTERNS, SECRET_PATTERNS, Part
from trainshed.spec.document.walk import keys_of, nearest, part_at
from trainshed.spec.document.yaml_tree import Document, Path, item_at

WORDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
}


RANGE_TAGS = ("uniform", "log_uniform", "integer", "normal", "choice")


def validate(adapter: TypeAdapter[Any], data: Any) -> Any:
    """Strict validation: no text for a number, no number for a truth value; a list is a tuple.

    Raises:
        pydantic.ValidationError: every fault, with its path.
    """
    return adapter.validate_json(json.dumps(data), strict=True)


def explain(error: ValidationError, document: Document, parts: list[type[Part]]) -> list[Fault]:
    """Every error as a fault with the line of the nearest key that the document really has."""
    found: dict[Path, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        path = _data_path(detail["loc"], document.data)
        if detail["type"] == "too_short" and item_at(document.data, path):
            continue  # pydantic counts only the items that passed; the ones that did not have faults of their own
        found.setdefault(path, []).append(detail)
    faults = []
    for path, details in found.items():
        messages = [_message(detail, path, document.data, parts) for detail in details]
        if len(details) > 1 and all(detail["type"] != "value_error" for detail in details):
            messages = [_either(details)]
        key = ".".join(map(str, path))
        faults += [Fault(document.file, document.line_of(_named(path, message)), key, message) for message in messages]
    return faults


def said_of_kind(kind: Any, known: Iterable[str]) -> str:
    """What is wrong with a `kind` that is none of those known."""
    if kind is None or kind == "":
        return f"kind is empty; {nearest('', known)}"
    if not isinstance(kind, str):
        return f"kind is one word, got {_short(kind)}; {nearest('', known)}"
    return f"unknown kind {kind[:60]!r}; {nearest(kind[:60], known)}"


def _named(path: Path, message: str) -> Path:
    """The key that a rule over several keys begins with, as in `search.trials: ...`; other words are no keys there."""
    first, *_ = message.split(maxsplit=1)
    return (*path, *first.rstrip(":").split("."))


def _either(details: list[ErrorDetails]) -> str:
    """One line for a value that is none of the things that may stand there, like a number or `auto`."""
    wanted = []
    for detail in details:
        match detail["type"]:
            case "literal_error":
                wanted.append(detail["ctx"]["expected"].replace("'", ""))
            case "greater_than_equal":
                wanted.append(f"at least {detail['ctx']['ge']}")
            case kind if kind in WORDS:
                wanted.append(WORDS[kind])
            case _:
                wanted.append(detail["msg"].lower().removeprefix("input should be "))
    return f"expected {' or '.join(dict.fromkeys(wanted))}, got {_short(details[0].get('input'))}"


def _data_path(loc: tuple[str | int, ...], data: Any) -> Path:
    """Pydantic's location without the union tags that stand between the keys."""
    path: list[str | int] = []
    for index, element in enumerate(loc):
        last = index == len(loc) - 1
        if isinstance(data, dict):
            if element in RANGE_TAGS and not last and isinstance(loc[index + 1], str):
                continue  # a range's tag is also the name of one of its keys
            if element in data:
                data = data[element]
            elif element == data.get("kind") or not last or _is_tag(element, data):
                continue
            else:
                data = None
        elif isinstance(data, list) and isinstance(element, int):
            data = data[element] if element < len(data) else None
        else:
            continue
        path.append(element)
    return tuple(path)


def _is_tag(element: str | int, data: Mapping[str, object]) -> bool:
    return element in ("train_in_full", "train_from_best") or element in data


def _message(detail: ErrorDetails, path: Path, data: Any, parts: list[type[Part]]) -> str:
    got = detail.get("input")
    context = detail.get("ctx", {})
    match detail["type"]:
        case "missing" if isinstance(path[-1], int):
            return f"missing; {path[-2]} is a list of {path[-1] + 1} values, got {_short(item_at(data, path[:-1]))}"
        case "missing":
            return f"missing; {_noun(path, data)} needs it"
        case "too_short" | "string_too_short":
            return "is empty; it needs at least one" if detail["type"] == "too_short" else "is empty"
        case "too_long":
            return f"expected at most {context['max_length']} values, got {_short(got)}"
        case "extra_forbidden":
            part = part_at(parts, data, path[:-1])
            return f"unknown key; {nearest(str(path[-1]), keys_of(part) if part else ())}"
        case "union_tag_invalid":
            tags = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
            return said_of_kind(got.get("kind") if isinstance(got, dict) else got, tags)
        case "union_tag_not_found":
            return f"kind is missing, got {_short(got)}; say which with `kind:`"
        case "literal_error":
            allowed = [word.strip(" '") for word in context["expected"].replace(" or ", ",").split(",")]
            return f"got {_short(got)}; {nearest(str(got), allowed)}"
        case "string_pattern_mismatch":
            return _pattern_text(context["pattern"], got)
        case "value_error":
            return str(context["error"])
        case kind if kind in WORDS:
            return f"expected {WORDS[kind]}, got {_short(got)}"
        case _:
            return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, got {_short(got)}"


def _noun(path: Path, data: Any) -> str:
    data = item_at(data, path[:-1])
    kind = data.get("kind") if isinstance(data, dict) else None
    if isinstance(kind, str) and kind:
        return f"a `{kind[:60]}`"
    return ".".join(map(str, path[:-1])) or "a job"


def _pattern_text(pattern: str, got: Any) -> str:
    say = SAID_OF_PATTERNS[pattern]  # what stands there may be the secret itself: it is not repeated
    return say if pattern in SECRET_PATTERNS else f"got {_short(got)}; {say}"


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
