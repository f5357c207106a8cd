"""Model shapes a training may ask for, and their parameter counts by pure arithmetic.

The counts are exact for what transformers builds from the same fields (a test compares them); the plan stands on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from trainshed.spec.part import Count, Part, Ratio

AnyModel = TypeVar("AnyModel", "Gpt2", "Llama")


class Gpt2(Part):
    """GPT-2: learnt positions, LayerNorm, GELU, tied embeddings (Radford et al. 2019)."""

    kind: Literal["gpt2"] = "gpt2"
    layers: Count
    heads: Count
    width: Count
    """Size of the hidden state; a multiple of `heads`."""
    context: Count | None = None
    """Longest sequence in tokens; the data's block size where it is not given."""
    dropout: Ratio = 0.0

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Gpt2:
        return _check_heads(self)

    def parameters(self, vocab_size: int, context: int) -> int:
        """Number of weights, the tied output layer counted once."""
        embeddings = (vocab_size + context) * self.width
        per_layer = 12 * self.width**2 + 13 * self.width
        return embeddings + self.layers * per_layer + 2 * self.width


class Llama(Part):
    """Llama: rotary positions, RMSNorm, SwiGLU, grouped-query attention (arXiv 2302.13971)."""

    kind: Literal["llama"] = "llama"
    layers: Count
    heads: Count
    width: Count
    """Size of the hidden state; a multiple of `heads`, with an even quotient."""
    kv_heads: Count | None = None
    """Key and value heads; `heads` where it is not given."""
    feed_forward: Count | None = None
    """Inner size of the SwiGLU block; 8/3 of the width, rounded up to 32, where it is not given."""
    context: Count | None = None
    """Longest sequence in tokens; the data's block size where it is not given."""
    dropout: Ratio = 0.0
    """Attention dropout, the only one this family has."""
    tie_embeddings: bool = True

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Llama:
        if self.heads % (self.kv_heads or self.heads):
            raise ValueError(f"kv_heads must divide heads: {self.kv_heads} does not divide {self.heads}")
        if self.width % self.heads == 0 and self.width // self.heads % 2:
            raise ValueError(f"width / heads must be even for rotary positions, got {self.width // self.heads}")
        return _check_heads(self)

    @property
    def inner(self) -> int:
        """Inner size of the feed-forward block."""
        return self.feed_forward or -(-8 * self.width // 3 // 32) * 32

    def parameters(self, vocab_size: int, context: int) -> int:  # noqa: ARG002 - rotary positions have no weights
        """Number of weights; a tied output layer is counted once."""
        kv_width = self.width // self.heads * (self.kv_heads or self.heads)
        attention = 2 * self.width**2 + 2 * self.width * kv_width
        per_layer = attention + 3 * self.width * self.inner + 2 * self.width
        embeddings = vocab_size * self.width * (1 if self.tie_embeddings else 2)
        return embeddings + self.layers * per_layer + self.width


Model = Annotated[Gpt2 | Llama, Field(discriminator="kind")]


@dataclass(frozen=True)
class DataSizes:
    """What a count of weights takes from the data."""

    vocab_size: int | None
    context: int
    """Tokens in the longest sample."""


def count_parameters(model: Model, data: DataSizes) -> int | None:
    """Number of weights a training makes; None where only the cluster can count them."""
    return None if data.vocab_size is None else model.parameters(data.vocab_size, model.context or data.context)


def sequence_length(model: Model, data: DataSizes) -> int:  # noqa: ARG001 - every model so far reads tokens
    """Tokens in the longest sample as the model sees it."""
    return data.context


def _check_heads(model: AnyModel) -> AnyModel:
    if model.width % model.heads:
        raise ValueError(f"width must be a multiple of heads: {model.width} is not a multiple of {model.heads}")
    return model
