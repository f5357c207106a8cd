"""Continuous batching by transformers' own manager: requests join and leave between two forward passes.

The manager runs the model in a thread of its own and hands every new token to the event loop that asked. An error in
a forward pass ends that thread, so everything a request could get wrong is refused before it is handed over.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from trainshed.errors import PlatformError
from trainshed.patience import patience
from trainshed.runtime.models.export import end_tokens, load_model, load_tokenizer
from trainshed.runtime.serving.engines.engine import (
    EngineDeadError,
    EngineFullError,
    EngineSettings,
    RequestError,
    Sampling,
    Step,
)
from trainshed.runtime.serving.engines.prompts import PromptEncoder
from trainshed.runtime.serving.engines.sampling import SamplingRows

_PAGE_TOKENS = 32
_ALIVE_CHECK_S = 2.0
_STANDS_BACK = 5
"""By how much the thread of the model is less urgent (Unix niceness) than the event loop."""


class ContinuousEngine:
    """A causal language model of a local directory behind transformers' ContinuousBatchingManager."""

    def __init__(self, model_dir: Path, settings: EngineSettings) -> None:
        torch.set_num_threads(settings.threads)
        self._tokenizer = load_tokenizer(model_dir)
        model = load_model(model_dir, attention=settings.attention, gpu=settings.gpu)
        text_config = model.config.get_text_config()
        self._vocabulary = int(text_config.vocab_size)
        if len(self._tokenizer) > self._vocabulary:
            sizes = f"the tokenizer has {len(self._tokenizer)} tokens and the model embeds {self._vocabulary}"
            raise PlatformError(f"{model_dir}: {sizes}; they do not belong together")
        trained_window = getattr(text_config, "max_position_embeddings", None) or settings.cache_tokens
        self.context_window = min(int(trained_window), settings.cache_tokens)
        self._prompts = PromptEncoder(
            self._tokenizer, context_window=self.context_window, obey=settings.obey_special_tokens
        )
        self._end_tokens = end_tokens(model, self._tokenizer)
        self._max_requests = settings.max_requests
        self._open: set[str] = set()
        self.generated_tokens = 0
        self._manager = _start_manager(model, settings)

    @property
    def has_chat_template(self) -> bool:
        """Whether messages can be turned into a prompt."""
        return self._prompts.has_chat_template

    @property
    def running_requests(self) -> int:
        """Requests that hold memory of the model, or wait for it."""
        processor = self._manager.batch_processor
        if processor is None:
            return len(self._open)
        scheduler = processor.scheduler
        return int(self._manager.input_queue.qsize() + len(scheduler.active_requests) + len(scheduler.waiting_requests))

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
        """Refuses what would end the engine's thread or never be answered."""
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

    async def generate(self, prompt: Sequence[int], sampling: Sampling) -> AsyncGenerator[Step, None]:
        """One step per token; closing the iterator before its end cancels the request."""
        self.validate(prompt, sampling)
        if len(self._open) >= self._max_requests:
            raise EngineFullError(f"{self._max_requests} requests are being answered; try again later")
        request_id = uuid4().hex
        outputs: asyncio.Queue[Any] = asyncio.Queue()
        self._open.add(request_id)
        self._manager.register_result_handler(request_id, outputs.put_nowait)
        finished = False
        try:
            self._submit(request_id, prompt, sampling)
            async with aclosing(self._steps(outputs)) as steps:
                async for step in steps:
                    finished = step.finish is not None
                    yield step
        finally:
            self._open.discard(request_id)
            self._manager.output_router.result_handlers.pop(request_id, None)
            if not finished:
                self._manager.cancel_request(request_id)

    def check(self) -> None:
        """Raises EngineDeadError, with its cause, when the thread has ended or is about to."""
        status = self._manager.background_thread_status
        denial = status.can_accept_new_requests()
        if denial is not None or not self._manager.is_running():
            raise EngineDeadError(f"the engine has stopped: {status.fatal_error or denial or 'its thread has ended'}")

    def warm_up(self, *, timeout_s: float = 120.0) -> None:
        """Generates two tokens outside any event loop."""
        self._submit("warm-up", [self._end_tokens[0] if self._end_tokens else 0], Sampling(max_tokens=2, temperature=0))
        limit = patience(timeout_s)
        output = self._manager.get_result("warm-up", timeout=limit.seconds)
        if output is None or output.error:
            why = output.error if output else f"no answer within {limit}"
            raise PlatformError(f"the model cannot generate: {why}")

    def stop(self) -> None:
        """Ends the thread; requests that it still holds fail."""
        self._manager.stop(block=True, timeout=10, hard_stop=True)

    def _submit(self, request_id: str, prompt: Sequence[int], sampling: Sampling) -> None:
        accepted = self._manager.add_request(
            list(prompt),
            request_id=request_id,
            max_new_tokens=sampling.max_tokens,
            streaming=True,
            eos_token_id=self._end_tokens or -1,
            sampling=sampling,
        )
        if accepted is None:
            self.check()

    async def _steps(self, outputs: asyncio.Queue[Any]) -> AsyncGenerator[Step, None]:
        seen = 0
        while True:
            try:
                async with asyncio.timeout(_ALIVE_CHECK_S):  # wait_for of Python 3.11 can swallow a cancellation
                    output = await outputs.get()
            except TimeoutError:
                self.check()
                continue
            if output.error:
                raise EngineDeadError(f"the engine failed on this request: {output.error}")
            tokens = tuple(output.generated_tokens[seen:])
            seen += len(tokens)
            self.generated_tokens += len(tokens)
            if output.is_finished():
                yield Step(tokens, "stop" if tokens and tokens[-1] in self._end_tokens else "length")
                return
            yield Step(tokens)


def _start_manager(model: Any, settings: EngineSettings) -> Any:
    """The manager with every size said: left alone it takes most of the memory, and flash kernels from a hub."""
    blocks = math.ceil(settings.cache_tokens / _PAGE_TOKENS) + 1
    manager = model.init_continuous_batching(
        generation_config=GenerationConfig(do_sample=False, eos_token_id=-1),
        continuous_batching_config=ContinuousBatchingConfig(
            page_size=_PAGE_TOKENS,
            num_blocks=blocks,
            max_batch_tokens=settings.batch_tokens,
            max_requests_per_batch=settings.max_requests,
            auto_switch_to_flash=False,
            use_cuda_graph=False,
            use_async_batching=False,
        ),
    )
    manager.logit_processor = SamplingRows()
    # A thread inherits `daemon` from the one that starts it, and the manager's own must not keep a process from ending.
    starter = threading.Thread(target=manager.start, daemon=True)
    starter.start()
    starter.join()
    _stand_back(manager._generation_thread.native_id)
    return manager


def _stand_back(thread: int) -> None:
    """Where cores are few, what takes milliseconds (`/health`, a stream's next piece) comes before the next pass."""
    if sys.platform != "linux":  # elsewhere threads have no niceness of their own
        return
    os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, 0) + _STANDS_BACK)
