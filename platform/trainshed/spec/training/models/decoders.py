"""Decoders that predict the next token: GPT-2, Llama, Qwen2, Qwen3."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainshed.spec.document.part import Count, Part, Ratio
from trainshed.spec.training.models.shapes import check_heads, check_share_of_base


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
    """Of residuals, embeddings and attention, where they do not say their own."""
    embedding_dropout: Ratio | None = None
    attention_dropout: Ratio | None = None
    mup_base_width: Count | None = None
    """muP from this width on: the best learning rate there is the best at `width` too; keep `width` / `heads`."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Gpt2:
        return check_share_of_base(check_heads(self), "heads")

    @property
    def head_size(self) -> int:
        """Numbers in a query."""
        return self.width // self.heads

    def parameters(self, vocab_size: int, context: int) -> int:
        """Number of weights, the tied output layer counted once."""
        embeddings = (vocab_size + context) * self.width
        per_layer = 12 * self.width**2 + 13 * self.width
        return embeddings + self.layers * per_layer + 2 * self.width


class _Rotary(Part):
    """What the decoders with rotary positions say, and its arithmetic; each of them adds its kind and its count."""

    kind: Literal["llama", "qwen2", "qwen3"]
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
    mup_base_width: Count | None = None
    """muP from this width on: the best learning rate there is the best at `width` too; keep `width` / `heads`."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> _Rotary:
        if self.heads % (self.kv_heads or self.heads):
            raise ValueError(f"kv_heads must divide heads: {self.kv_heads} does not divide {self.heads}")
        if self.width % self.heads == 0 and self.head_size % 2:
            raise ValueError(f"width / heads must be even for rotary positions, got {self.head_size}")
        checked = self if self.own_head_size else check_heads(self)
        return check_share_of_base(checked, "heads", "kv_heads", "feed_forward")

    @property
    def own_head_size(self) -> int | None:
        """The head size where it does not follow from the width; None where it does."""
        return None

    @property
    def head_size(self) -> int:
        """Numbers in a query."""
        return self.own_head_size or self.width // self.heads

    @property
    def inner(self) -> int:
        """Inner size of the feed-forward block."""
        return self.feed_forward or -(-8 * self.width // 3 // 32) * 32

    @property
    def kv_width(self) -> int:
        """Size of all keys, and of all values, of one token."""
        return self.head_size * (self.kv_heads or self.heads)


class Llama(_Rotary):
    """Llama: rotary positions, RMSNorm, SwiGLU, grouped-query attention (arXiv 2302.13971)."""

    kind: Literal["llama"] = "llama"

    def parameters(self, vocab_size: int, context: int) -> int:  # noqa: ARG002 - rotary positions have no weights
        """Number of weights; a tied output layer is counted once."""
        return _count(self, vocab_size, extra_per_layer=0)


class Qwen2(_Rotary):
    """Qwen2: Llama with biases on queries, keys and values (arXiv 2407.10671)."""

    kind: Literal["qwen2"] = "qwen2"

    def parameters(self, vocab_size: int, context: int) -> int:  # noqa: ARG002 - rotary positions have no weights
        """Number of weights; a tied output layer is counted once."""
        return _count(self, vocab_size, extra_per_layer=self.width + 2 * self.kv_width)


class Qwen3(_Rotary):
    """Qwen3: Llama with RMSNorm on each head's queries and keys (arXiv 2505.09388)."""

    kind: Literal["qwen3"] = "qwen3"
    head_dim: Annotated[int, Field(ge=2, multiple_of=2)] | None = None
    """Size of a head, where it is not `width` / `heads`: 128 in every Qwen3; even, for rotary positions."""

    @property
    def own_head_size(self) -> int | None:
        """The head size where it does not follow from the width; None where it does."""
        return self.head_dim

    def parameters(self, vocab_size: int, context: int) -> int:  # noqa: ARG002 - rotary positions have no weights
        """Number of weights; a tied output layer is counted once."""
        return _count(self, vocab_size, extra_per_layer=2 * self.head_size)


def _count(model: _Rotary, vocab_size: int, *, extra_per_layer: int) -> int:
    attention = 2 * model.width * model.heads * model.head_size + 2 * model.width * model.kv_width
    per_layer = attention + 3 * model.width * model.inner + 2 * model.width + extra_per_layer
    embeddings = vocab_size * model.width * (1 if model.tie_embeddings else 2)
    return embeddings + model.layers * per_layer + model.width
