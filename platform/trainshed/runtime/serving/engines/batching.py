"""The model of an endpoint in continuous batches: requests join and leave between two forward passes.

Transformers' own manager runs the model in a thread; what each pass gives is sent as one message. An error in a pass
ends that thread, so everything a request could get wrong is refused before it comes here. Knows no tokenizing, no event
loop and no other process but by `send`.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainshed.errors import PlatformError
from trainshed.runtime.generation.manager import start_manager
from trainshed.runtime.generation.sampling import SamplingRows
from trainshed.runtime.models.export import end_tokens, load_model, load_tokenizer
from trainshed.runtime.serving.engines.engine import EngineSettings, Finish, Step
from trainshed.runtime.serving.engines.messages import Failed, FromModel, Loaded, Output, Outputs, Released, Request

Send = Callable[[FromModel], None]

_RELEASE_LOOK_S = 0.01
"""How often it is looked whether a cancelled request is gone; a forward pass takes about as long."""
_COUNT_S = 0.5
"""How old the number of generated tokens may get while no request has an output to send."""


class BatchedModel:
    """A causal language model of a local directory behind transformers' ContinuousBatchingManager."""

    def __init__(self, model_dir: Path, settings: EngineSettings, send: Send) -> None:
        torch.set_num_threads(settings.threads)
        tokenizer = load_tokenizer(model_dir)
        model = load_model(model_dir, attention=settings.attention, gpu=settings.gpu)
        text_config = model.config.get_text_config()
        vocabulary = int(text_config.vocab_size)
        if len(tokenizer) > vocabulary:
            sizes = f"the tokenizer has {len(tokenizer)} tokens and the model embeds {vocabulary}"
            raise PlatformError(f"{model_dir}: {sizes}; they do not belong together")
        trained_window = getattr(text_config, "max_position_embeddings", None) or settings.cache_tokens
        window = min(int(trained_window), settings.cache_tokens)
        self.loaded = Loaded(window, vocabulary, end_tokens(model_dir, model, tokenizer), tokenizer)
        self._send = send
        self._outputs = _Outputs(send, self.loaded.end_tokens)
        self._cancelled: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._manager = start_manager(
            model,
            self._outputs,
            SamplingRows(),
            cache_tokens=settings.cache_tokens,
            batch_tokens=settings.batch_tokens,
            requests=settings.max_requests,
        )
        threading.Thread(target=self._release, name="releases", daemon=True).start()

    def add(self, request: Request) -> None:
        """Takes a request in; after the model's thread has ended nothing happens, and `join` says why."""
        self._outputs.open[request.number] = _Open(request.whole)
        self._manager.add_request(
            list(request.prompt),
            request_id=str(request.number),
            max_new_tokens=request.sampling.max_tokens,
            streaming=True,
            eos_token_id=list(self.loaded.end_tokens) or -1,
            sampling=request.sampling,
        )

    def cancel(self, number: int) -> None:
        """Lets go of a request between two passes; one that has finished is left as it is."""
        self._cancelled.put(number)

    def join(self) -> str:
        """Waits until the model's thread has ended; returns why it did."""
        self._manager.join(time.perf_counter())
        return str(self._manager.background_thread_status.fatal_error or "its thread has ended")

    def _release(self) -> None:
        """Cancels each request once it is scheduled, and says so once it is not any more; all of them side by side.

        The manager forgets a cancellation that comes before its request, and takes them from two queues.
        """
        leaving: dict[int, bool] = {}  # whether the manager has been told
        while True:
            leaving |= dict.fromkeys(self._newly_cancelled(wait=not leaving), False)
            for number, was_told in list(leaving.items()):
                is_scheduled = self._is_scheduled(str(number))
                if is_scheduled and not was_told:
                    self._manager.cancel_request(str(number))
                    leaving[number] = True
                elif number not in self._outputs.open:  # it has finished before
                    del leaving[number]
                elif was_told and not is_scheduled:
                    del leaving[number]
                    self._outputs.open.pop(number, None)
                    self._send(Released(number, self._outputs.generated_tokens))
            time.sleep(_RELEASE_LOOK_S)

    def _newly_cancelled(self, *, wait: bool) -> list[int]:
        found = [self._cancelled.get()] if wait else []
        with suppress(queue.Empty):
            while True:
                found.append(self._cancelled.get_nowait())
        return found

    def _is_scheduled(self, request_id: str) -> bool:
        processor = self._manager.batch_processor
        if processor is None:
            return False
        return request_id in processor.scheduler.active_requests or request_id in processor.scheduler.waiting_requests


@dataclass
class _Open:
    """A request that has not finished: how it is answered, and how many of its tokens are known here."""

    whole: bool
    tokens: int = 0


class _Outputs:
    """Sends what each forward pass gives. It has the methods of transformers' OutputRouter, whose place it takes."""

    def __init__(self, send: Send, end_tokens: Sequence[int]) -> None:
        self._send = send
        self._end_tokens = frozenset(end_tokens)
        self._sent_at = 0.0
        self.open: dict[int, _Open] = {}
        self.generated_tokens = 0

    def deliver(self, output: Any) -> None:
        self.deliver_batch([output])

    def deliver_batch(self, outputs: Sequence[Any]) -> None:
        found = tuple(told for output in outputs if (told := self._told(output)) is not None)
        now = time.monotonic()
        if found or now - self._sent_at > _COUNT_S:
            self._sent_at = now
            self._send(Outputs(found, self.generated_tokens))

    def fail_and_deliver(self, state: Any, error: Exception) -> None:
        number = int(state.request_id)
        self.open.pop(number, None)
        self._send(Failed(number, str(error)))

    def _told(self, output: Any) -> Output | None:
        """What the replica is told of it; None where it waits for the whole answer."""
        number = int(output.request_id)
        request = self.open.get(number)
        if request is None:
            return None
        known = request.tokens
        request.tokens = len(output.generated_tokens)
        self.generated_tokens += request.tokens - known
        if output.is_finished():
            self.open.pop(number, None)
            new = output.generated_tokens if request.whole else output.generated_tokens[known:]
            return Output(number, Step(tuple(new), self._finish(new)))
        return None if request.whole else Output(number, Step(tuple(output.generated_tokens[known:])))

    def _finish(self, tokens: Sequence[int]) -> Finish:
        return "stop" if tokens and tokens[-1] in self._end_tokens else "length"
