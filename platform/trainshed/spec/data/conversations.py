"""Rows of the formats that people use as conversations: checked, and imported from Alpaca and ShareGPT.

A stranger wrote the rows: everything is parsed into a type, and what is something else is told, never turned into text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainshed.spec.data.formats import Format
from trainshed.spec.data.values import BadValue, described, text_of

Message = dict[str, Any]

ROLES = ("system", "developer", "user", "assistant", "tool")
SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "assistant": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
    "function_call": "assistant",
}
MOST_MESSAGES = 10_000


@dataclass(frozen=True)
class Conversation:
    """Messages in their order, and the tools that the assistant may call."""

    messages: tuple[Message, ...]
    tools: tuple[Any, ...] = ()

    def as_json(self) -> str:
        """One text, equal for equal conversations."""
        said = {"messages": self.messages, **({"tools": self.tools} if self.tools else {})}
        return json.dumps(said, ensure_ascii=False, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Conversation:
        """What `as_json` wrote."""
        said = json.loads(text)
        return Conversation(tuple(said["messages"]), tuple(said.get("tools", ())))

    @property
    def texts(self) -> list[str]:
        """What is said, message by message."""
        return [str(message["content"]) for message in self.messages if message.get("content")]


@dataclass(frozen=True)
class Preference:
    """A question with an answer that is preferred to another."""

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]

    def as_json(self) -> str:
        """One text, equal for equal preferences."""
        said = {"prompt": self.prompt, "chosen": self.chosen, "rejected": self.rejected}
        return json.dumps(said, ensure_ascii=False, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Preference:
        """What `as_json` wrote."""
        said = json.loads(text)
        return Preference(tuple(said["prompt"]), tuple(said["chosen"]), tuple(said["rejected"]))


def conversation_of(name: Format, row: Mapping[str, Any]) -> Conversation:
    """The conversation of a row.

    Raises:
        BadValue: it holds none: a key is missing or holds something else, or the roles are in no order.
    """
    match name:
        case "alpaca":
            return _alpaca(row)
        case "sharegpt":
            found = _list(row, "conversations")
            system = row.get("system")
            first = [{"role": "system", "content": text_of(system)}] if system else []
            turns = [*first, *(_of_sharegpt(number, one) for number, one in enumerate(found, 1))]
            return Conversation(_ordered(turns), _tools(row))
        case _:
            found = _list(row, "messages")
            turns = [_message(number, one) for number, one in enumerate(found, 1)]
            return Conversation(_ordered(turns), _tools(row))


def preference_of(row: Mapping[str, Any]) -> Preference:
    """The preference of a row: texts, messages, or two conversations with the same beginning.

    Raises:
        BadValue: it holds none.
    """
    sides = {side: _turns(row, side, "assistant") for side in ("chosen", "rejected")}
    prompt = _turns(row, "prompt", "user") if "prompt" in row else _common(*sides.values())
    if "prompt" not in row:
        sides = {side: turns[len(prompt) :] for side, turns in sides.items()}
    for side, turns in sides.items():
        if not turns or turns[-1]["role"] != "assistant":
            raise BadValue(f"{side}: it ends with no answer of the assistant")
    if sides["chosen"] == sides["rejected"]:
        raise BadValue("chosen and rejected are the same; there is nothing to prefer")
    return Preference(tuple(prompt), tuple(sides["chosen"]), tuple(sides["rejected"]))


def _alpaca(row: Mapping[str, Any]) -> Conversation:
    for key in ("instruction", "output"):
        if key not in row:
            raise BadValue(f"no field {key!r}; it has {', '.join(map(str, row))}")
    asked = _text(row, "instruction")
    more = row.get("input")
    if more not in (None, ""):
        asked = f"{asked}\n\n{_text(row, 'input')}"
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": _text(row, "output")}]
    if row.get("system"):
        turns.insert(0, {"role": "system", "content": _text(row, "system")})
    return Conversation(_ordered(turns))


def _message(number: int, value: Any) -> Message:
    """One message, with what else templates read of it."""
    if not isinstance(value, dict):
        raise BadValue(f"message {number}: expected an object with role and content, found {described(value)}")
    role = value.get("role")
    if role not in ROLES:
        raise BadValue(f"message {number}: role is {described(role)}; it is {', '.join(ROLES[:-1])} or {ROLES[-1]}")
    kept = {key: one for key, one in value.items() if one is not None}
    if "content" not in kept:
        if not (role == "assistant" and kept.get("tool_calls")):
            raise BadValue(f"message {number}: it has no content")
        kept["content"] = ""
    kept["content"] = _content(number, kept["content"])
    return kept


def _content(number: int, value: Any) -> str:
    """A text, also where it is told in parts of type text."""
    if isinstance(value, list):
        parts = [one.get("text") if isinstance(one, dict) and one.get("type") == "text" else None for one in value]
        if not all(isinstance(part, str) for part in parts):
            raise BadValue(f"message {number}: its content has parts that are no text; only text can be learnt")
        value = "".join(part for part in parts if part is not None)
    try:
        return text_of(value)
    except BadValue as error:
        raise BadValue(f"message {number}: content: {error}") from None


def _of_sharegpt(number: int, value: Any) -> Message:
    if not isinstance(value, dict) or "from" not in value or "value" not in value:
        raise BadValue(f"conversations {number}: expected an object with from and value, found {described(value)}")
    said_by = value["from"]
    role = SHAREGPT_ROLES.get(said_by) if isinstance(said_by, str) else None
    if role is None:
        raise BadValue(f"conversations {number}: from is {described(said_by)}; known are {', '.join(SHAREGPT_ROLES)}")
    text = _content(number, value["value"])
    if said_by != "function_call":
        return {"role": role, "content": text}
    try:
        call = json.loads(text)
    except ValueError:
        raise BadValue(f"conversations {number}: a function_call whose value is no JSON") from None
    return {"role": role, "content": "", "tool_calls": [{"type": "function", "function": call}]}


def _ordered(turns: Sequence[Message]) -> tuple[Message, ...]:
    """The turns, if roles follow one another as in a conversation."""
    if len(turns) > MOST_MESSAGES:
        raise BadValue(f"{len(turns)} messages; a conversation has {MOST_MESSAGES} at most")
    roles = [turn["role"] for turn in turns]
    if "assistant" not in roles:
        raise BadValue("no message of the assistant: there is nothing to learn")
    asked = [number for number, role in enumerate(roles) if role in ("user", "tool")]
    if not asked or roles.index("assistant") < asked[0]:
        raise BadValue(f"message {roles.index('assistant') + 1}: the assistant answers before anybody asked")
    for number, (before, role) in enumerate(zip([None, *roles], roles, strict=False), 1):
        if role in ("system", "developer") and number > 1:
            raise BadValue(f"message {number}: {role} stands first, or not at all")
        if role == before == "assistant":
            raise BadValue(f"message {number}: the assistant answers twice in a row")
    return tuple(turns)


def _tools(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Descriptions of functions, as data; ShareGPT has them as JSON in a text."""
    found = row.get("tools")
    if isinstance(found, str) and found.strip():
        try:
            found = json.loads(found)
        except ValueError:
            raise BadValue("tools: a text that is no JSON") from None
    if found in (None, "", []):
        return ()
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise BadValue(f"tools: expected a list of objects, found {described(found)}")
    return tuple(found)


def _turns(row: Mapping[str, Any], key: str, role: str) -> list[Message]:
    """A side of a preference: a text said by `role`, or messages."""
    if key not in row:
        raise BadValue(f"no field {key!r}; it has {', '.join(map(str, row))}")
    value = row[key]
    if isinstance(value, list):
        return [_message(number, one) for number, one in enumerate(value, 1)]
    return [{"role": role, "content": _text(row, key)}]


def _common(first: Sequence[Message], second: Sequence[Message]) -> list[Message]:
    """The messages with which two conversations both begin."""
    same = 0
    while same < min(len(first), len(second)) and first[same] == second[same]:
        same += 1
    if not same:
        raise BadValue("no prompt, and chosen and rejected begin differently; say the prompt")
    return list(first[:same])


def _list(row: Mapping[str, Any], key: str) -> list[Any]:
    if key not in row:
        raise BadValue(f"no field {key!r}; it has {', '.join(map(str, row))}")
    value = row[key]
    if not isinstance(value, list) or not value:
        raise BadValue(f"{key}: expected a list of messages, found {described(value)}")
    return value


def _text(row: Mapping[str, Any], key: str) -> str:
    try:
        return text_of(row[key])
    except BadValue as error:
        raise BadValue(f"{key}: {error}") from None
