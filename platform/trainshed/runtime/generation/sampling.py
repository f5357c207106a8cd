"""How each request of a batch picks its next token.

The batching manager always takes the highest score. Greedy rows therefore stay as they are; to the others Gumbel noise
is added, and the highest of scores plus noise is an exact sample of their softmax (arXiv 1611.01144, section 2.1).
Knows the shape of transformers' ContinuousBatchingLogitsProcessorList, whose place it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from trainshed.runtime.generation.rules import Sampling


@dataclass(frozen=True)
class _Row:
    """One request that gets a token in this forward pass; `position` is the token's place in the sequence."""

    sampling: Sampling
    position: int


class SamplingRows:
    """The rules of the requests in the batch at hand, in the order of their scores."""

    tensors_required = 0

    def __init__(self) -> None:
        self._rows: list[_Row] = []

    @property
    def do_processing(self) -> bool:
        """Whether any request of the batch samples; a greedy batch costs nothing here."""
        return any(not row.sampling.greedy for row in self._rows)

    def check_kwargs(self, kwargs: dict[str, Any]) -> None:
        """Accepts every request: each carries one validated `Sampling`."""

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """Does nothing: the rules stay on the host."""

    def prepare_tensor_args(self, requests_in_batch: Sequence[Any], arg_storage: torch.Tensor) -> torch.Tensor:
        """Remembers the rules of the requests that get a token in this pass."""
        states = [request.state for request in requests_in_batch if request.has_new_token]
        self._rows = [
            _Row(state.logit_processor_kwargs["sampling"], len(state.initial_tokens) + len(state.generated_tokens))
            for state in states
        ]
        return arg_storage

    def __call__(self, _ids: torch.Tensor, scores: torch.Tensor, _arguments: torch.Tensor) -> torch.Tensor:
        """`scores` (requests, vocab) with the rows of sampling requests turned so that their maximum is a sample."""
        if len(self._rows) > scores.shape[0]:
            raise RuntimeError(f"{scores.shape[0]} rows of scores for {len(self._rows)} requests")
        chosen = [
            scores[index : index + 1] if row.sampling.greedy else _sampled(scores[index : index + 1], row)
            for index, row in enumerate(self._rows)
        ]
        # A request whose prompt is not yet read has a row too, behind those that get a token; nobody looks at it.
        return torch.cat([*chosen, scores[len(self._rows) :]])


def _sampled(scores: torch.Tensor, row: _Row) -> torch.Tensor:
    rule = row.sampling
    scores = scores.float()
    scores = scores - scores.max()  # 0 at most: a small temperature makes -inf of the others, never inf
    scores = TemperatureLogitsWarper(rule.temperature)(None, scores)
    if rule.top_k > 0:
        scores = TopKLogitsWarper(top_k=min(rule.top_k, scores.shape[-1]))(None, scores)
    if rule.top_p < 1:
        scores = TopPLogitsWarper(top_p=rule.top_p)(None, scores)
    noise = torch.empty_like(scores).exponential_(generator=_generator(row, scores.device))
    return scores - noise.clamp_min(torch.finfo(noise.dtype).tiny).log()


def _generator(row: _Row, device: torch.device) -> torch.Generator | None:
    """The noise of one place in one seeded request; it depends on neither the batch nor earlier passes."""
    if row.sampling.seed is None:
        return None
    digest = blake2b(f"{row.sampling.seed}:{row.position}".encode(), digest_size=8).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest, "big") >> 1)
