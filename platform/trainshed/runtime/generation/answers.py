"""Answers of a model in this process: many prompts in continuous batches, each token with the log-probability it had.

The same seed, prompt and weights give the same answer, whatever is asked beside it. Between two calls the weights may
change: nothing of one call is kept for the next.
"""

from __future__ import annotations

import math
import queue
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trainshed.errors import PlatformError
from trainshed.runtime.generation.manager import start_manager
from trainshed.runtime.generation.rules import Sampling
from trainshed.runtime.generation.sampling import SamplingRows
from trainshed.spec.plan.answering import PAGE_TOKENS

LOOK_S = 1.0
"""How often it is looked whether the model's thread still runs."""


@dataclass(frozen=True)
class Answer:
    """What a model has said to a prompt."""

    tokens: tuple[int, ...]
    """The end token included, where it ended by itself."""
    log_probabilities: tuple[float, ...]
    """Of each token, in nats, as the model had it: without temperature or cuts."""
    ended: bool
    """Whether it ended by itself, and not by its length."""


class Answerer:
    """A causal language model behind transformers' manager of continuous batches."""

    def __init__(self, model: Any, *, ends: Sequence[int], longest: int, at_once: int = 64) -> None:
        """`longest`: tokens of a prompt and its answer, at most; `at_once`: how many are answered together."""
        self._ends = frozenset(ends)
        self._rows = _RecordingRows()
        self._finished: queue.SimpleQueue[tuple[str, tuple[int, ...] | Exception]] = queue.SimpleQueue()
        self._manager = start_manager(
            model,
            self,
            self._rows,
            cache_tokens=at_once * math.ceil(longest / PAGE_TOKENS) * PAGE_TOKENS,  # no answer waits for room
            batch_tokens=max(512, longest),
            requests=at_once,
            share=False,
        )
        self._asked = 0

    def answers(self, prompts: Sequence[Sequence[int]], sampling: Sequence[Sampling]) -> list[Answer]:
        """The answer to each prompt, in their order; each has its own rules.

        Raises:
            PlatformError: the model cannot go on.
        """
        numbers = [str(self._asked + number) for number in range(len(prompts))]
        self._asked += len(prompts)
        for number, prompt, rule in zip(numbers, prompts, sampling, strict=True):
            self._manager.add_request(
                list(prompt),
                request_id=number,
                max_new_tokens=rule.max_tokens,
                streaming=False,
                eos_token_id=list(self._ends) or -1,
                sampling=rule,
            )
        found: dict[str, tuple[int, ...]] = {}
        while len(found) < len(numbers):
            number, tokens = self._next()
            if isinstance(tokens, Exception):
                raise PlatformError(f"the model cannot answer: {tokens}") from tokens
            found[number] = tokens
        return [self._answer(number, found[number]) for number in numbers]

    def stop(self) -> None:
        """Ends the model's thread."""
        self._manager.stop(block=True)

    def deliver(self, output: Any) -> None:
        """What the manager hands over; see OutputRouter of transformers."""
        if output.is_finished():
            self._finished.put((output.request_id, tuple(output.generated_tokens)))

    def deliver_batch(self, outputs: Sequence[Any]) -> None:
        """Each of them."""
        for output in outputs:
            self.deliver(output)

    def fail_and_deliver(self, state: Any, error: Exception) -> None:
        """A request that cannot be answered."""
        self._finished.put((state.request_id, error))

    def _next(self) -> tuple[str, tuple[int, ...] | Exception]:
        while True:
            try:
                return self._finished.get(timeout=LOOK_S)
            except queue.Empty:
                if not self._manager.is_running():
                    why = self._manager.background_thread_status.fatal_error or "its thread has ended"
                    raise PlatformError(f"the model cannot answer: {why}") from None

    def _answer(self, number: str, tokens: tuple[int, ...]) -> Answer:
        said = self._rows.said.pop(number)
        return Answer(tokens, tuple(said[: len(tokens)]), bool(tokens) and tokens[-1] in self._ends)


class _RecordingRows(SamplingRows):
    """Remembers the log-probability of each token that it has chosen, by request."""

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[str, list[float]] = {}
        self._numbers: list[str] = []

    @property
    def do_processing(self) -> bool:
        """Always: greedy tokens have a log-probability too."""
        return True

    def prepare_tensor_args(self, requests_in_batch: Sequence[Any], arg_storage: torch.Tensor) -> torch.Tensor:
        """Remembers whose tokens are chosen next."""
        self._numbers = [one.state.request_id for one in requests_in_batch if one.has_new_token]
        return super().prepare_tensor_args(requests_in_batch, arg_storage)

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor, arguments: torch.Tensor) -> torch.Tensor:
        """As SamplingRows has it."""
        chosen = super().__call__(ids, scores, arguments)
        own = scores.float().log_softmax(-1).gather(-1, chosen.argmax(-1, keepdim=True))[:, 0]
        for number, value in zip(self._numbers, own.tolist(), strict=False):  # rows without a token stand last
            self.said.setdefault(number, []).append(value)
        return chosen
