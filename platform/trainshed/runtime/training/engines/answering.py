"""A model that only answers: every worker has all of it, without gradients, in the half precision of its files."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch

from trainshed.runtime.training.engines.engine import HALF, MakeInParts, MakeModel
from trainshed.runtime.training.engines.frozen import FrozenWeights
from trainshed.spec.training.train import Training


class Answers(Protocol):
    """The part of an `Engine` that answers."""

    model: torch.nn.Module

    def forward(self, **batch: torch.Tensor) -> Any:
        """The model's output for a batch's tensors by name."""

    def train(self, *, on: bool) -> None:
        """Dropout and all that is for training alone, on or off."""


class AnsweringModel:
    """See `Answers`; it computes as the ddp engine does."""

    def __init__(
        self,
        training: Training,
        make_model: MakeModel,
        device: torch.device,
        *,
        make_in_parts: MakeInParts | None = None,
    ) -> None:
        self._half = HALF.get(training.precision)
        self._device = device
        self._frozen = FrozenWeights(self._half, device)
        made = make_model() if make_in_parts is None else make_in_parts(self._part, torch.float32)
        self.model = self._frozen.model(made.requires_grad_(requires_grad=False)).to(device).eval()

    def forward(self, **batch: torch.Tensor) -> Any:
        """The model's output."""
        with self.arithmetic():
            return self.model(**batch)

    def train(self, *, on: bool) -> None:
        """It stays in evaluation mode."""

    def arithmetic(self) -> AbstractContextManager[Any]:
        """Inside, the model computes in its precision; `forward` does by itself."""
        return torch.autocast(self._device.type, self._half) if self._half is not None else nullcontext()

    def _part(self, part: torch.nn.Module, *, layer: bool) -> None:
        self._frozen.part(part.requires_grad_(requires_grad=False), layer=layer)
