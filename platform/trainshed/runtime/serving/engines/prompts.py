"""What clients write, as tokens: texts and conversations, encoded as those that the model was trained on.

Knows the encoder of prepared data and what a request may ask; knows no model and no event loop. Everything here may be
called from several threads at once.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trainshed.runtime.encoding import ConversationEncoder, Marks, TemplateRefusal, TextEncoder
from trainshed.runtime.scratch import scratch
from trainshed.runtime.serving.engines.engine import RequestError


class PromptEncoder:
    """The tokenizer of a served model. With `obey` a text that spells a special token becomes that token."""

    def __init__(self, tokenizer: Any, *, context_window: int, obey: bool) -> None:
        """Takes transformers' tokenizer, whichever files it was read from."""
        with scratch("tokenizer") as folder:
            tokenizer.save_pretrained(str(folder))
            self._marks = Marks.read(folder)
            self._texts = TextEncoder.read(folder, max_tokens=None, obeyed=None if obey else ())
            self._conversations = ConversationEncoder.read(folder, obey=obey)
        self._found: Counter[str] = Counter()
        self._counting = threading.Lock()
        words = self._texts.vocabulary if obey else self._texts.vocabulary - set(self._marks.spelled)
        self.max_characters = context_window * max(map(len, words), default=1)
        """Characters that can fit the context at the very best, if every token were the longest one. A token is spelled
        with at least as many characters as it stands for."""

    @property
    def has_chat_template(self) -> bool:
        """Whether messages can be turned into a prompt."""
        return self._conversations is not None

    @property
    def special_tokens_in_texts(self) -> dict[str, int]:
        """How often texts of clients spelled each special token so far."""
        with self._counting:
            return dict(self._found)

    def text(self, text: str) -> list[int]:
        """The tokens of a prompt: begun with the special tokens that this tokenizer puts before a text, never closed.

        Raises:
            RequestError: it is too long for any tokenization to fit.
        """
        self._check_length([text], "prompt")
        self._count([text])
        return list(map(int, self._texts.prompts([text])[0]))

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The tokens of a conversation, up to where the answer begins.

        Raises:
            RequestError: the tokenizer has no template, its template refuses these messages, or they are too long.
        """
        if self._conversations is None:
            raise RequestError("this model has no chat template; ask /v1/completions with a prompt", "messages")
        texts = [str(message["content"]) for message in messages]
        self._check_length(texts, "messages")
        self._count(texts)
        try:
            return self._conversations.question([dict(message) for message in messages])
        except TemplateRefusal as error:
            raise RequestError(f"the chat template refuses these messages: {error}", "messages") from error

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
