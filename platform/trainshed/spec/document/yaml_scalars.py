"""Plain YAML scalars as the core schema of YAML 1.2 reads them, and what is refused because 1.1 reads it otherwise.

`010` is 8 in YAML 1.1 and 10 in 1.2, `1:30` is 90 or a text, `2_000` and `0b11` are numbers or texts: whoever wrote one
meant one of the two, and nobody can know which. Knows texts and numbers; knows nothing of documents.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

LARGEST = 2**63 - 1
"""What JSON readers, Arrow and torch agree on as a whole number."""
MAX_DIGITS = 40

SCALAR_TAGS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null"))

_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_CORE = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+0123456789."),
    ),
}
_SURPRISES = (
    (re.compile(r"[-+]?0[0-9]+"), "has a leading zero, which makes it octal in YAML 1.1; leave the zero out"),
    (
        re.compile(r"[-+]?[0-9][0-9_]*(?::[0-9_]+)+(?:\.[0-9_]*)?"),
        "counts in sixties in YAML 1.1; write the number out",
    ),
    (re.compile(r"[-+]?0b[01_]+"), "is binary in YAML 1.1; write it in decimals"),
    (re.compile(r"[-+]0x[0-9a-fA-F_]+"), "is hexadecimal with a sign, as in YAML 1.1; write it in decimals"),
    (re.compile(r"[-+]?0[xo](?=.*_)[0-9a-fA-F_]+"), "has `_` in it, as in YAML 1.1; leave it out"),
    (
        re.compile(r"(?=.*_)[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9_]+)?"),
        "has `_` in it, as in YAML 1.1; leave it out",
    ),
)


class ScalarError(ValueError):
    """A scalar that is not read; the message is a fault's."""


def core_resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """PyYAML's table of implicit resolvers, by first character, for the core schema alone."""
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for name, (pattern, firsts) in _CORE.items():
        for first in firsts:
            table.setdefault(first, []).append((f"tag:yaml.org,2002:{name}", re.compile(f"^(?:{pattern})$")))
    return table


def value_of(node: yaml.ScalarNode) -> Any:
    """The text, number, truth value or null that a scalar stands for.

    Raises:
        ScalarError: it may not be what its writer meant, or cannot be read; the message says why, and what to write.
    """
    if node.style is None:  # neither quoted nor a block of text
        for pattern, why in _SURPRISES:
            if pattern.fullmatch(node.value):
                raise ScalarError(f"{short(node.value)} {why}, or put it in quotes if it is text")
    kind = node.tag.rsplit(":", 1)[-1]
    if kind == "int" and len(node.value) > MAX_DIGITS:
        raise ScalarError(f"{short(node.value)} is over {LARGEST:,}, the largest whole number")
    try:
        value = int(node.value, _base_of(node.value)) if kind == "int" else _CONSTRUCTOR.construct_object(node)
    except (ValueError, yaml.YAMLError):
        raise ScalarError(f"cannot read {short(node.value)!r} as {kind}") from None
    if kind == "int" and abs(value) > LARGEST:
        raise ScalarError(f"{short(node.value)} is over {LARGEST:,}, the largest whole number")
    return value


def short(text: str, limit: int = 40) -> str:
    """A text that fits a line."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _base_of(text: str) -> int:
    return {"0o": 8, "0x": 16}.get(text[:2], 10)
