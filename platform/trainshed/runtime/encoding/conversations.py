"""Conversations as token ids, and which of them the assistant says: what is learnt from, and what is asked.

One encoder for prepared data, training, validation, `predict` and the endpoint. Knows a template, a tokenizer and end
tokens; knows no models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tokenizers import Encoding, Tokenizer

from trainshed.runtime.encoding.marks import Marks
from trainshed.runtime.encoding.special import TOKENIZER, named_ends
from trainshed.runtime.encoding.template import ChatTemplate, Message, TemplateRefusal
from trainshed.runtime.encoding.turns import turn_starts

Learn = Literal["all", "last"]
Ids = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

KEPT = frozenset({"role", "type"})
"""Keys of a message whose values a template compares; everything else in it is text."""


@dataclass(frozen=True)
class EncodedConversation:
    """A conversation as a model reads it."""

    ids: Ids
    """int64 `(tokens,)`."""
    mask: Mask
    """bool `(tokens,)`: whether the token is one that the assistant says, the end of its turn included."""
    as_asked: bool
    """Whether the tokens before the last turn that is learnt are those that the model is asked with. Templates that ask
    for a thought first, or show earlier messages otherwise, train on something else than they ask."""


class ConversationEncoder:
    """The chat template and the tokenizer in a folder."""

    def __init__(
        self, template: ChatTemplate, serialized: str, marks: Marks, *, ends: Sequence[int], obey: bool
    ) -> None:
        """Reads a tokenizer.json; with `obey` a message that spells a special token becomes that token."""
        self.template = template
        self._serialized = serialized
        self._marks = marks
        self._obey = obey
        self._ends = tuple(ends)

    @staticmethod
    def read(folder: Path, *, obey: bool) -> ConversationEncoder | None:
        """Of the tokenizer in a folder; None where it has no chat template.

        Raises:
            PlatformError: its files cannot be read.
        """
        template = ChatTemplate.read(folder)
        if template is None:
            return None
        serialized = (folder / TOKENIZER).read_text()
        return ConversationEncoder(template, serialized, Marks.read(folder), ends=named_ends(folder), obey=obey)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        tokenizer = Tokenizer.from_str(self._serialized if self._obey else self._marks.text_only)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def end_of_turn(self) -> int | None:
        """The token with which the template closes an assistant's turn; None where it writes none."""
        said = "x9x"
        try:
            rendered = self.template.render([{"role": "user", "content": "y"}, {"role": "assistant", "content": said}])
        except TemplateRefusal:
            return None
        mark = self._marks.first(rendered[rendered.rfind(said) + len(said) :])
        return None if mark is None else Tokenizer.from_str(self._serialized).token_to_id(mark)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """Every token that ends an answer: those that the model's files name, and the template's own."""
        own = () if self.end_of_turn is None else (self.end_of_turn,)
        return tuple(dict.fromkeys((*self._ends, *own)))

    def question(self, messages: Sequence[Message], *, tools: Sequence[Any] | None = None) -> list[int]:
        """The tokens of a conversation up to where the answer begins.

        Raises:
            TemplateRefusal: the template takes no such messages.
        """
        rendered = self._render(self._shown(messages), tools)(len(messages), True)
        return list(self._encoded(self._spelled(rendered)).ids)

    def learnt(
        self, messages: Sequence[Message], *, tools: Sequence[Any] | None = None, learn: Learn = "all"
    ) -> EncodedConversation:
        """The tokens of a whole conversation, and which of them are learnt.

        Raises:
            TemplateRefusal: the template takes no such messages, or does not show where the assistant speaks.
        """
        shown = self._shown(messages)
        render = self._render(shown, tools)
        rendered = render(len(messages), False)
        turns = [number for number, message in enumerate(messages) if message.get("role") == "assistant"]
        turns = turns[-1:] if learn == "last" else turns
        spelled = self._spelled(rendered)
        found = turn_starts(render, shown, rendered, turns)
        starts = [self._place(rendered, spelled, one.place) for one in found]
        encoded = self._encoded(spelled)
        ids = np.array(encoded.ids, dtype=np.int64)
        return EncodedConversation(ids, self._mask(encoded, starts), all(one.as_asked for one in found[-1:]))

    def _mask(self, encoded: Encoding, starts: Sequence[int]) -> Mask:
        """From the first token of each turn to the token that ends it."""
        mask = np.zeros(len(encoded.ids), dtype=bool)
        ends = np.flatnonzero(np.isin(encoded.ids, self.ends))
        begins = np.array([start for start, _ in encoded.offsets], dtype=np.int64)
        for start, limit in zip(starts, [*starts[1:], None], strict=True):
            first = int(np.searchsorted(begins, start))
            last = next((int(one) for one in ends if one >= first), None)
            if last is None or (limit is not None and begins[last] >= limit):
                raise TemplateRefusal(
                    "the chat template closes an assistant's turn with none of the model's end tokens, "
                    f"{self._named_ends()}; nothing would be learnt of where to stop"
                )
            mask[first : last + 1] = True
        return mask

    def _named_ends(self) -> str:
        tokenizer = Tokenizer.from_str(self._serialized)
        return ", ".join(tokenizer.id_to_token(one) or str(one) for one in self.ends) or "of which it names none"

    def _shown(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages as the template gets them."""
        return messages if self._obey else [self._veiled(message) for message in messages]

    def _render(self, shown: Sequence[Message], tools: Sequence[Any] | None) -> Callable[..., str]:
        """The text of the first messages, with or without the beginning of an answer; others may stand for one."""
        safe = tools if self._obey or tools is None else self._veiled(list(tools))

        def render(count: int, prompted: bool, changed: dict[int, Message] | None = None) -> str:
            some = [(changed or {}).get(number, message) for number, message in enumerate(shown[:count])]
            return self.template.render(some, tools=safe, generation_prompt=prompted)

        return render

    def _veiled(self, value: Any) -> Any:
        """The same data, in which no text spells a mark."""
        if isinstance(value, str):
            return self._marks.veil(value)
        if isinstance(value, dict):
            return {key: one if key in KEPT else self._veiled(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._veiled(one) for one in value]
        return value

    def _spelled(self, rendered: str) -> str:
        return rendered if self._obey else self._marks.spell(rendered)

    def _place(self, rendered: str, spelled: str, start: int) -> int:
        """Where a place of the rendered text lies in what is tokenised."""
        before = self._spelled(rendered[:start])
        if not spelled.startswith(before):
            raise TemplateRefusal("the chat template begins an assistant's turn in the middle of a special token")
        return len(before)

    def _encoded(self, text: str) -> Encoding:
        [encoded] = self._tokenizer.encode_batch([text], add_special_tokens=False)  # `encode` keeps the GIL
        return encoded
