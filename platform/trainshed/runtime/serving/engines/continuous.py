"""Continuous batching of a causal language model that runs in a process of its own.

What clients wait for (prompts to tokens and back, refusals, health) is here, in the replica's process, where the
model's thread never holds the interpreter. Everything a request could get wrong is refused before it is handed over.
"""

from __future__ import annotations

import asyncio
import importlib
import queue
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, assert_never

from trainshed.errors import PlatformError
from trainshed.patience import patience
from trainshed.runtime.generation.rules import Sampling
from trainshed.runtime.serving.engines.engine import (
    EngineDeadError,
    EngineFullError,
    EngineSettings,
    RequestError,
    Step,
)
from trainshed.runtime.serving.engines.folder import check_files
from trainshed.runtime.serving.engines.messages import Ended, Failed
from trainshed.runtime.serving.engines.model_link import Given, ModelLink
from trainshed.runtime.serving.engines.prompts import PromptEncoder


class ContinuousEngine:
    """The tokenizer of a local directory, and the process that holds its model."""

    def __init__(self, model_dir: Path, settings: EngineSettings) -> None:
        check_files(model_dir)
        self._model = ModelLink(model_dir, settings)
        try:
            importlib.import_module("transformers.tokenization_utils_tokenizers")  # while the process loads the model
            loaded = self._model.loaded()
            self._tokenizer = loaded.tokenizer
            self._vocabulary = loaded.vocabulary
            self._end_tokens = loaded.end_tokens
            self.context_window = loaded.context_window
            self._prompts = PromptEncoder(
                self._tokenizer, context_window=self.context_window, obey=settings.obey_special_tokens
            )
        except BaseException:
            self._model.stop()
            raise
        self._max_requests = settings.max_requests
        self._uncounted = 0

    @property
    def has_chat_template(self) -> bool:
        """Whether messages can be turned into a prompt."""
        return self._prompts.has_chat_template

    @property
    def generated_tokens(self) -> int:
        """Tokens given to all requests since the engine began."""
        return self._model.generated_tokens - self._uncounted

    @property
    def running_requests(self) -> int:
        """Requests that hold memory of the model, or wait for it."""
        return self._model.held_requests

    @property
    def special_tokens_in_texts(self) -> dict[str, int]:
        """How often texts of clients spelled each special token so far."""
        return self._prompts.special_tokens_in_texts

    def encode(self, text: str) -> list[int]:
        """The tokens of a prompt, with the special tokens that this tokenizer puts around a text."""
        return self._prompts.text(text)

    def encode_chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The tokens of a conversation, up to where the answer begins."""
        return self._prompts.chat(messages)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without special ones."""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def validate(self, prompt: Sequence[int], sampling: Sampling) -> None:
        """Refuses what would end the model's process or never be answered."""
        if not prompt:
            raise RequestError("the prompt is empty: it must have at least one token", "prompt")
        strange = next((token for token in prompt if not 0 <= token < self._vocabulary), None)
        if strange is not None:
            raise RequestError(f"token {strange} does not exist: this model has 0 to {self._vocabulary - 1}", "prompt")
        if len(prompt) + sampling.max_tokens > self.context_window:
            raise RequestError(
                f"the prompt has {len(prompt)} tokens and max_tokens is {sampling.max_tokens}: together they exceed "
                f"this model's context of {self.context_window} tokens",
                "max_tokens",
            )

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, whole: bool = False
    ) -> AsyncGenerator[Step, None]:
        """One step per token, or one for all with `whole`; closing the iterator before its end cancels the request."""
        self.validate(prompt, sampling)
        if self._model.open_requests >= self._max_requests:
            raise EngineFullError(f"{self._max_requests} requests are being answered; try again later")
        given: asyncio.Queue[Given] = asyncio.Queue()
        number = self._model.ask(prompt, sampling, given.put_nowait, whole=whole, loop=asyncio.get_running_loop())
        try:
            finished = False
            while not finished:
                step = _step(await given.get())
                finished = step.finish is not None
                yield step
        finally:
            self._model.leave(number)

    def check(self) -> None:
        """Raises EngineDeadError, with its cause, when the model's process has ended or is about to."""
        self._model.check()

    def warm_up(self, *, timeout_s: float = 120.0) -> None:
        """Generates two tokens outside any event loop."""
        before = self._model.generated_tokens
        given: queue.SimpleQueue[Given] = queue.SimpleQueue()
        prompt = [self._end_tokens[0] if self._end_tokens else 0]
        sampling = Sampling(max_tokens=2, temperature=0)
        number = self._model.ask(prompt, sampling, given.put, whole=True, loop=None)
        limit = patience(timeout_s)
        try:
            answer = given.get(timeout=limit.seconds)
        except queue.Empty:
            raise PlatformError(f"the model cannot generate: no answer within {limit}") from None
        finally:
            self._model.leave(number)
        match answer:
            case Failed(error=why) | Ended(cause=why):
                raise PlatformError(f"the model cannot generate: {why}")
        self._uncounted += self._model.generated_tokens - before

    def stop(self) -> None:
        """Ends the model's process; requests that it still holds fail."""
        self._model.stop()


def _step(given: Given) -> Step:
    match given:
        case Step():
            return given
        case Failed():
            raise EngineDeadError(f"the engine failed on this request: {given.error}")
        case Ended():
            raise EngineDeadError(f"the engine has stopped: {given.cause}")
        case _:
            assert_never(given)
