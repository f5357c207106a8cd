"""What the endpoint needs of a text engine, and which one it gets.

An engine holds one model and one tokenizer, answers many requests at once, and knows nothing of HTTP or Ray.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from trainshed.errors import PlatformError
from trainshed.runtime.generation.rules import Sampling

Finish = Literal["stop", "length"]


class RequestError(PlatformError):
    """This request cannot be answered by this model; others are untouched."""

    def __init__(self, message: str, parameter: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class EngineFullError(PlatformError):
    """The engine holds as many requests as it may; try again later."""


class EngineDeadError(PlatformError):
    """The engine has ended; the replica must be replaced."""


@dataclass(frozen=True)
class EngineSettings:
    """How much of the machine one engine takes."""

    cache_tokens: int = 8192
    """Tokens of keys and values held at once, for all requests together; it bounds the context window too."""
    batch_tokens: int = 512
    """Tokens of one forward pass: running requests take one each, prompts fill the rest in pieces."""
    max_requests: int = 64
    """Requests held at once, running or waiting; the next one is refused."""
    threads: int = 1
    """CPU threads of a forward pass."""
    gpu: bool = False
    attention: str = "sdpa"
    obey_special_tokens: bool = False
    """Whether a client's text that spells a special token becomes that token."""


@dataclass(frozen=True)
class Step:
    """What was added to a request: by one forward pass, or by all of them."""

    tokens: tuple[int, ...]
    finish: Finish | None = None


class TextEngine(Protocol):
    """A loaded model that answers requests together."""

    context_window: int
    """Tokens that a prompt and its continuation may have together."""

    @property
    def generated_tokens(self) -> int:
        """Tokens given to all requests since the engine began."""

    @property
    def has_chat_template(self) -> bool: ...

    @property
    def running_requests(self) -> int: ...

    @property
    def special_tokens_in_texts(self) -> dict[str, int]:
        """How often texts of clients spelled each special token so far."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a prompt; takes long where it is long. Any thread may call it.

        Raises:
            RequestError: it has more characters than can fit the context.
        """

    def encode_chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The tokens of a conversation up to where the answer begins; the contents of its messages are text.

        Raises:
            RequestError: there is no chat template, it refuses these messages, or they are too long.
        """

    def decode(self, tokens: Sequence[int]) -> str: ...

    def validate(self, prompt: Sequence[int], sampling: Sampling) -> None:
        """Raises RequestError for what `generate` would refuse."""

    def generate(self, prompt: Sequence[int], sampling: Sampling, *, whole: bool = False) -> AsyncGenerator[Step, None]:
        """The continuation of `prompt`: as it comes, or in one step at its end where it is wanted as a `whole`.

        Closing the iterator frees its slot.

        Raises:
            RequestError: the prompt is empty, too long, or holds tokens that the model does not have.
            EngineFullError: no slot and no place in the queue.
            EngineDeadError: the engine has ended.
        """

    def check(self) -> None:
        """Raises EngineDeadError when the engine can answer no more."""

    def warm_up(self, *, timeout_s: float = 120.0) -> None:
        """Generates a few tokens, so that a model that cannot answer is found before it is asked."""

    def stop(self) -> None: ...
