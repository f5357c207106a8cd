"""What clients write, as tokens: texts and conversations in which only the chat template writes special tokens.

Knows transformers' tokenizer, because it renders the template; knows no model and no event loop. Everything here may be
called from several threads at once.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError
from tokenizers import Tokenizer

from trainshed.runtime.encoding import Marks
from trainshed.runtime.serving.engines.engine import RequestError

_PROBES = (("system", "user", "assistant", "user"), ("user", "assistant", "user"), ("user",))
"""Conversations whose rendering shows how a template marks turns; some templates refuse a system's turn."""


class PromptEncoder:
    """The tokenizer of a served model. With `obey` a text that spells a special token becomes that token."""

    def __init__(self, tokenizer: Any, *, context_window: int, obey: bool) -> None:
        self._tokenizer = tokenizer
        self._obey = obey
        serialized = tokenizer.backend_tokenizer.to_str()
        self._marks = Marks(serialized, named=self._structure())
        self._encoder = Tokenizer.from_str(serialized if obey else self._marks.text_only)
        self._encoder.no_truncation()
        self._encoder.no_padding()
        self._found: Counter[str] = Counter()
        self._counting = threading.Lock()
        words = self._encoder.get_vocab() if obey else tokenizer.get_vocab().keys() - set(self._marks.spelled)
        self.max_characters = context_window * max(map(len, words), default=1)
        """Characters that can fit the context at the very best, if every token were the longest one. A token is spelled
        with at least as many characters as it stands for."""

    @property
    def has_chat_template(self) -> bool:
        """Whether messages can be turned into a prompt."""
        return bool(self._tokenizer.chat_template)

    @property
    def special_tokens_in_texts(self) -> dict[str, int]:
        """How often texts of clients spelled each special token so far."""
        with self._counting:
            return dict(self._found)

    def text(self, text: str) -> list[int]:
        """The tokens of a prompt, with the special tokens that this tokenizer puts around a text.

        Raises:
            RequestError: it is too long for any tokenization to fit.
        """
        self._check_length([text], "prompt")
        self._count([text])
        return self._encode(text, enclosed=True)

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The tokens of a conversation, up to where the answer begins.

        Raises:
            RequestError: the tokenizer has no template, its template refuses these messages, or they are too long.
        """
        if not self.has_chat_template:
            raise RequestError("this model has no chat template; ask /v1/completions with a prompt", "messages")
        texts = [str(message["content"]) for message in messages]
        self._check_length(texts, "messages")
        self._count(texts)
        if self._obey:
            return self._encode(self._render(messages), enclosed=False)
        veiled = [{**message, "content": self._marks.veil(text)} for message, text in zip(messages, texts, strict=True)]
        return self._encode(self._marks.spell(self._render(veiled)), enclosed=False)

    def _encode(self, text: str, *, enclosed: bool) -> list[int]:
        [encoded] = self._encoder.encode_batch_fast([text], add_special_tokens=enclosed)  # `encode` keeps the GIL
        return list(encoded.ids)

    def _render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    [dict(message) for message in messages], add_generation_prompt=True, tokenize=False
                )
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise RequestError(f"the chat template refuses these messages: {error}", "messages") from error

    def _structure(self) -> set[str]:
        """Tokens that mark turns or have a role, whether the tokenizer calls them special or not."""
        named = set(map(str, self._tokenizer.all_special_tokens))
        if not self.has_chat_template:
            return named
        added = {token.content for token in self._tokenizer.added_tokens_decoder.values() if token.content.strip()}
        for roles in _PROBES:
            try:
                rendered = self._render([{"role": role, "content": "x"} for role in roles])
            except RequestError:
                continue
            return named | {token for token in added if token in rendered}
        return named

    def _check_length(self, texts: Sequence[str], parameter: str) -> None:
        characters = sum(map(len, texts))
        if characters > self.max_characters:
            raise RequestError(
                f"{parameter} has {characters} characters; more than {self.max_characters} do not fit this model's "
                "context, however they are tokenized",
                parameter,
            )

    def _count(self, texts: Sequence[str]) -> None:
        found = sum((self._marks.found(text) for text in texts), Counter())
        with self._counting:
            self._found += found
