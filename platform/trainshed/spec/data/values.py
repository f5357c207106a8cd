"""What a field of a row must be: a text, a label. What is something else is refused, never turned into text.

Only text is text: a number would be learnt as this program writes numbers, and not as the file does.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Literal, assert_never

LabelKind = Literal["class", "multi", "number"]

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
LARGEST = 3.4028234e38
"""Of fp32, in which labels that are numbers are trained on."""


class BadValue(Exception):
    """What stands where something else should; a finding about a row, which its reader turns into a `BadRow`."""


def text_of(value: Any) -> str:
    """A text.

    Raises:
        BadValue: it is something else, or holds what is no character.
    """
    if isinstance(value, str):
        return _characters(value)
    raise BadValue(f"expected text, found {described(value)}")


def label_of(value: Any, kind: LabelKind) -> Any:
    """A label as it is kept until all are known: text, a whole number or a boolean; a list of them; or a finite number.

    Raises:
        BadValue: it is none of the job's kind.
    """
    match kind:
        case "class":
            return _class(value)
        case "multi":
            return [_class(one) for one in several(value)]
        case "number":
            return _number(value)
        case _:
            assert_never(kind)


def name_of(label: str | int | bool) -> str:
    """The name of a class; true and false as JSON writes them."""
    return str(label) if isinstance(label, str) else json.dumps(label)


def several(value: Any) -> list[Any]:
    """What is in a label of several: a list, or text parted by `|`."""
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        return [name.strip() for name in value.split("|") if name.strip()]
    return [value]


def described(value: Any) -> str:
    """A value for a message: what it is, and the value where that is short."""
    match value:
        case None:
            return "null"
        case bool():
            return f"the boolean {json.dumps(value)}"
        case int() | float():
            return f"the number {value!r}"
        case str() if not value.strip():
            return "nothing"
        case str():
            return repr(value if len(value) <= 40 else f"{value[:40]}...")
        case list():
            return f"a list of {len(value)}"
        case dict():
            return f"an object with {', '.join(map(repr, list(value)[:5])) or 'nothing in it'}"
        case _:
            return f"a {type(value).__name__}"


def _class(value: Any) -> str | int | bool:
    if isinstance(value, str) and value.strip():
        return _characters(value)
    if isinstance(value, int):
        return value
    hint = "; is label_kind: number meant?" if isinstance(value, float) else ""
    raise BadValue(f"expected a label (text, a whole number, true or false), found {described(value)}{hint}")


def _number(value: Any) -> float:
    written = value.strip() if isinstance(value, str) else value
    is_text = isinstance(written, str) and NUMBER.fullmatch(written)
    if not is_text and (isinstance(written, str | bool) or not isinstance(written, int | float)):
        raise BadValue(f"the label is no number: {described(value)}; see label_kind")
    try:
        number = float(written)
    except OverflowError:
        number = math.inf
    if not abs(number) <= LARGEST:
        raise BadValue(f"the label is no finite number of fp32: {described(value)}")
    return number


def _characters(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise BadValue(f"a lone surrogate (\\u{code:04x}), which is half a character") from None
    return text
