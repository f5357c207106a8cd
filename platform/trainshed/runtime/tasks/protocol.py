"""What the loop calls of a task. Knows torch; knows no model and no engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

Batch = dict[str, torch.Tensor]
"""Tensors by name, on one device; the first dimension of each is the samples."""

Forward = Callable[..., Any]
"""The model under its engine, called with a batch's tensors by name."""

Rows = list[np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Answered:
    """A sample's prompt, what the model generated for it, and what the data has; without special tokens."""

    prompt: str
    said: str
    truth: str


class Samples(Protocol):
    """The prepared samples of one split."""

    def __len__(self) -> int: ...

    def take(self, ids: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Columns of the samples with these numbers; each has `len(ids)` rows (an array, or a list of arrays)."""


class Meter(Protocol):
    """Adds up what held-out metrics need, without keeping logits over a vocabulary."""

    sums: torch.Tensor
    """float64 `(sums,)`, on the CPU; workers' sums are added."""
    rows: Rows
    """float64 arrays `(samples, columns)`; workers' rows are put together, in any order."""

    def add(self, forward: Forward, batch: Batch) -> None:
        """Measures one batch; the caller has switched gradients and dropout off."""

    def metrics(self) -> dict[str, float]:
        """Named figures of all that was added; `loss` is always there."""


class Task(Protocol):
    """What the loop and the export call."""

    unit: str
    """What the loss is a mean over: token, sample."""

    def make_model(self) -> torch.nn.Module:
        """A model in fp32, fresh or with existing weights; the caller has seeded torch."""

    def batch(self, rows: dict[str, Any], *, keys: list[tuple[int, ...]]) -> Batch:
        """Samples as the model takes them. `keys[row]` seeds what is drawn for that sample, on any worker alike."""

    def weight(self, batch: Batch) -> float:
        """How many units the loss of this batch is a sum over; known before the forward pass."""

    def loss(self, forward: Forward, batch: Batch, *, label_smoothing: float) -> torch.Tensor:
        """The loss summed over the batch's units, a scalar; in nats where it is a cross-entropy."""

    def meter(self) -> Meter:
        """An empty meter for held-out samples."""

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Writes weights, configuration and tokenizer in Hugging Face's layout; what was trained comes in fp32."""

    def examine(self, folder: Path, samples: Samples) -> dict[str, float]:
        """What only the exported model can show, such as what it really generates; for most tasks nothing."""

    def predict(self, model: torch.nn.Module, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answers for raw samples (`text`, or `image` as uint8 `(channels, size, size)`), as serving gives them."""


@runtime_checkable
class SaysTokens(Protocol):
    """What a task offers whose unit is no token, and whose model says tokens all the same: comparisons of answers."""

    def log_probabilities_per_token(self, forward: Forward, batch: Batch) -> tuple[torch.Tensor, float]:
        """The means over the tokens of each row, `(rows,)` in nats, and how many tokens the shortest row has."""


@runtime_checkable
class DrawsAnswers(Protocol):
    """What a task offers whose batches are answers of the model itself."""

    def sync(self, policy: Any, device: torch.device) -> None:
        """What answers from here on has the weights that the policy (an engine) has now; every worker calls it."""

    def figures(self, add: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, float]:
        """What the passes since the last call came to, by name; `add` sums over the workers, who all call it."""


@runtime_checkable
class MeasuresSamples(Protocol):
    """What a task offers whose model can be a reference for others: figures of single samples."""

    shape: dict[str, Any]
    """The model's architecture and sizes, as `spec.training.models.sameness.config_shape` has them."""

    def of_samples(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        """By the names of the columns that they become, `(samples,)` each."""


@runtime_checkable
class MeasuresEach(Protocol):
    """What a meter offers whose figures an evaluation puts an interval around: those of single samples."""

    def each(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        """By name, `(samples, figures)` each, float64 on the CPU; see `runtime.evaluation.figures`."""


@runtime_checkable
class GivesAnswers(Protocol):
    """What a task offers whose model generates an answer for the prompt of a sample."""

    def answers(self, model: Any, rows: dict[str, Any], *, max_new_tokens: int) -> list[Answered]:
        """What the model generates, greedily, for samples as `Samples.take` gives them."""

    def longest_answer(self, rows: dict[str, Any]) -> int:
        """Tokens of the longest answer that the data has for these samples, its end token included."""


class Exports(Protocol):
    """What a task may offer beside all this, as `exports`: its export opened again, and compared with what was trained.

    An export of a task without it is not compared.
    """

    def open_export(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        """The model of an export as others load it, in evaluation mode, computing in `dtype`."""


class AdapterExports(Exports, Protocol):
    """`exports` of a task that trains adapters of existing weights."""

    def export_adapters(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Writes the adapters alone, in peft's layout."""

    def open_adapters(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        """The existing weights with the exported adapters on them; else as `open_export`."""
