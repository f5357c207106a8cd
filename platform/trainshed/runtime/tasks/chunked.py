"""A decoder's loss without all of its logits at once: its head answers with each token's loss, chunk by chunk.

The logits of a chunk are made again in the backward pass (as Wijmans et al., arXiv 2411.09009, make them), so a pass
holds one chunk's. The head stays the module that it was: engines that split or gather its weights see no difference.
On a GPU where Liger is installed its fused kernel does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import MethodType

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig

from trainshed.runtime.modalities.text.collation import IGNORED
from trainshed.runtime.tasks.fused import fused_losses
from trainshed.spec.training.logits import has_plain_head, tokens_at_once

Head = Callable[[torch.Tensor], torch.Tensor]
AtOnce = Callable[[int, int], int]


class ChunkedHead:
    """The head of one model, while it has one."""

    def __init__(self, config: PreTrainedConfig, at_once: AtOnce = tokens_at_once) -> None:
        """`at_once`: of so many tokens and so large a vocabulary, the tokens in a chunk."""
        self._plain = has_plain_head(config.to_dict())
        self._vocabulary = int(getattr(config.get_text_config(), "vocab_size", 0) or 0)
        self._at_once = at_once
        self._targets: torch.Tensor | None = None
        self._smoothing = 0.0
        self.answered = False
        """Whether the last pass gave losses in place of logits: `(samples, time, 2)`, loss and whether it was right."""

    def put_on(self, model: torch.nn.Module) -> None:
        """Has a model's head answer so, whenever there is something to answer for."""
        head = model.get_output_embeddings() if self._plain else None  # type: ignore[operator]
        if head is not None:

            def forward(own: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
                return self._answer(own, hidden)

            head.forward = MethodType(forward, head)  # a method: a copy of the model has that of its own head

    @contextmanager
    def asked(self, targets: torch.Tensor, *, label_smoothing: float = 0.0) -> Iterator[None]:
        """Within it the head answers for targets `(samples, time)`, where their logits would be many."""
        self.answered = False
        many = self._at_once(targets.numel(), self._vocabulary) < targets.numel()
        self._targets = targets if many else None
        self._smoothing = label_smoothing
        try:
            yield
        finally:
            self._targets = None

    def _answer(self, own: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        head: Head = partial(type(own).forward, own)
        targets = self._targets
        if targets is None or hidden.shape[:-1] != targets.shape:
            return head(hidden)
        self.answered = True
        said = fused_losses(own, hidden.flatten(0, 1), targets.flatten(), label_smoothing=self._smoothing)
        if said is not None:
            return said.view(*targets.shape, 2)
        rows = self._at_once(targets.numel(), self._vocabulary)
        parts = zip(torch.split(hidden.flatten(0, 1), rows), torch.split(targets.flatten(), rows), strict=True)
        made = [checkpoint(self._of_chunk, head, states, wanted, use_reentrant=False) for states, wanted in parts]
        return torch.cat(made).view(*targets.shape, 2)

    def _of_chunk(self, head: Head, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = head(hidden).float()
        loss = F.cross_entropy(logits, targets, ignore_index=IGNORED, label_smoothing=self._smoothing, reduction="none")
        return torch.stack([loss, (logits.argmax(-1) == targets).float()], dim=-1)
