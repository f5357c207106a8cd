"""What a client gets back: the answers of the OpenAI API, whole or as server-sent events.

Built from `openai.types`, so that the official client reads them. Knows pieces of text; knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from openai.types import Completion, CompletionChoice, CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice as ChatChoice
from openai.types.chat.chat_completion_chunk import Choice as ChatChunkChoice
from openai.types.chat.chat_completion_chunk import ChoiceDelta
from pydantic import BaseModel

from trainshed.runtime.serving.pieces import Piece


@dataclass(frozen=True)
class Head:
    """What every answer to one request begins with."""

    id: str
    created: int
    model: str
    fingerprint: str

    @property
    def fields(self) -> dict[str, Any]:
        """The same, by the names of the OpenAI API."""
        return {
            "id": self.id,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


class Answers(Protocol):
    """One of the two shapes that an answer may have."""

    prefix: str
    """What the id of an answer begins with."""

    def whole(self, head: Head, pieces: Sequence[Piece], usage: CompletionUsage) -> BaseModel:
        """One response with all answers."""

    def opening(self, head: Head, index: int) -> BaseModel | None:
        """What a stream says before the first text of answer `index`."""

    def chunk(self, head: Head, piece: Piece) -> BaseModel:
        """One piece of a stream."""

    def usage_chunk(self, head: Head, usage: CompletionUsage) -> BaseModel:
        """The last chunk of a stream that was asked for its usage."""


class CompletionAnswers:
    """The shape of /v1/completions."""

    prefix = "cmpl"

    def whole(self, head: Head, pieces: Sequence[Piece], usage: CompletionUsage) -> BaseModel:
        """One choice for every prompt, in their order."""
        choices = [
            CompletionChoice(index=piece.index, text=piece.text, finish_reason=piece.finish or "stop")
            for piece in _joined(pieces)
        ]
        return Completion(**head.fields, object="text_completion", choices=choices, usage=usage)

    def opening(self, head: Head, index: int) -> BaseModel | None:
        """Nothing: the first chunk is text."""

    def chunk(self, head: Head, piece: Piece) -> BaseModel:
        """A choice with the new text; its finish_reason is null until the last."""
        choice = CompletionChoice.model_construct(
            index=piece.index, text=piece.text, finish_reason=piece.finish, logprobs=None
        )
        return Completion.model_construct(**head.fields, object="text_completion", choices=[choice])

    def usage_chunk(self, head: Head, usage: CompletionUsage) -> BaseModel:
        """No choices, only the usage."""
        return Completion(**head.fields, object="text_completion", choices=[], usage=usage)


class ChatAnswers:
    """The shape of /v1/chat/completions."""

    prefix = "chatcmpl"

    def whole(self, head: Head, pieces: Sequence[Piece], usage: CompletionUsage) -> BaseModel:
        """One message of the assistant."""
        choices = [
            ChatChoice(
                index=piece.index,
                message=ChatCompletionMessage(role="assistant", content=piece.text),
                finish_reason=piece.finish or "stop",
            )
            for piece in _joined(pieces)
        ]
        return ChatCompletion(**head.fields, object="chat.completion", choices=choices, usage=usage)

    def opening(self, head: Head, index: int) -> BaseModel | None:
        """Whose turn it is."""
        return self._chunk(head, index, ChoiceDelta(role="assistant", content=""), None)

    def chunk(self, head: Head, piece: Piece) -> BaseModel:
        """The new text of the message."""
        return self._chunk(head, piece.index, ChoiceDelta(content=piece.text), piece.finish)

    def usage_chunk(self, head: Head, usage: CompletionUsage) -> BaseModel:
        """No choices, only the usage."""
        return ChatCompletionChunk(**head.fields, object="chat.completion.chunk", choices=[], usage=usage)

    def _chunk(self, head: Head, index: int, delta: ChoiceDelta, finish: Any) -> BaseModel:
        choice = ChatChunkChoice(index=index, delta=delta, finish_reason=finish)
        return ChatCompletionChunk(**head.fields, object="chat.completion.chunk", choices=[choice])


def usage_of(prompt_tokens: int, completion_tokens: int) -> CompletionUsage:
    """Tokens read and tokens generated; the token that ends an answer counts."""
    return CompletionUsage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
    )


def event(answer: BaseModel) -> str:
    """One server-sent event."""
    return f"data: {answer.model_dump_json(exclude_unset=True)}\n\n"


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    """One piece for every answer: its whole text and how it finished."""
    joined: dict[int, Piece] = {}
    for piece in pieces:
        before = joined.get(piece.index, Piece(piece.index, "", 0))
        joined[piece.index] = Piece(piece.index, before.text + piece.text, before.tokens + piece.tokens, piece.finish)
    return [joined[index] for index in sorted(joined)]
