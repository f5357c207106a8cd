"""How a row is told, by the words that the field uses, and which of them a row's keys show.

Knows names of fields; reads no files.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Format = Literal["text", "prompt_completion", "messages", "preference", "alpaca", "sharegpt"]
"""text: `text`. prompt_completion: `prompt` and `completion`, two texts. messages: `messages`, a conversation with
roles, and `tools`. preference: `prompt`, `chosen`, `rejected`, texts or messages. alpaca: `instruction`, `input`,
`output`. sharegpt: `conversations` with `from` and `value`."""

FormatOrAuto = Format | Literal["auto"]

KEYS: dict[Format, tuple[str, ...]] = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "preference": ("chosen", "rejected"),
    "prompt_completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
    "text": ("text",),
}
"""The keys that a row of each format must have; the first format whose keys are all there is the one of a row."""

CONVERSATIONS = ("messages", "alpaca", "sharegpt")
"""Formats that become conversations, for a chat template."""

TooLong = Literal["cut_right", "cut_left", "drop", "refuse"]
Turns = Literal["all_turns", "last_turn"]


def format_of(keys: Iterable[str]) -> Format | None:
    """The format of a row with these keys; None where no format has them."""
    there = set(keys)
    return next((name for name, needed in KEYS.items() if there.issuperset(needed)), None)


def reads(name: Format, text_field: str = "text") -> dict[str, str]:
    """What a sample of a format has (text, target, messages, preference): the field that shows it."""
    match name:
        case "text":
            return {"text": text_field}
        case "prompt_completion":
            return {"text": "prompt", "target": "completion"}
        case "messages" | "alpaca" | "sharegpt":
            return {"messages": KEYS[name][0]}
        case "preference":
            return {"preference": "chosen"}
