"""Encoder and decoder together: T5 and BART."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from trainshed.spec.document.part import Count, Part, Ratio
from trainshed.spec.training.models.shapes import check_heads, dense

T5_BUCKETS = 32


class T5(Part):
    """T5 1.1: relative positions, RMSNorm, gated GELU, no biases (arXiv 1910.10683, 2002.05202)."""

    kind: Literal["t5"] = "t5"
    layers: Count
    """Of the encoder, and of the decoder where `decoder_layers` is not given."""
    heads: Count
    width: Count
    """Size of the hidden state; a multiple of `heads`."""
    decoder_layers: Count | None = None
    feed_forward: Count | None = None
    """Inner size of the gated block; 8/3 of the width, rounded up to 32, where it is not given."""
    dropout: Ratio = 0.0
    """Of embeddings, residuals, attention and feed-forward: the family has one for all."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> T5:
        return check_heads(self)

    @property
    def inner(self) -> int:
        """Inner size of the feed-forward block."""
        return self.feed_forward or -(-8 * self.width // 3 // 32) * 32

    @property
    def context(self) -> None:
        """Relative positions have no longest sequence."""

    def parameters(self, vocab_size: int, context: int) -> int:  # noqa: ARG002 - relative positions
        """Number of weights, the tied output layer counted once."""
        attention = 4 * self.width**2 + self.width
        forward = 3 * self.width * self.inner + self.width
        encoder = self.layers * (attention + forward)
        decoder = (self.decoder_layers or self.layers) * (2 * attention + forward)
        return vocab_size * self.width + encoder + decoder + 2 * (T5_BUCKETS * self.heads + self.width)


class Bart(Part):
    """BART: learnt positions, LayerNorm after each block, GELU, tied embeddings (arXiv 1910.13461)."""

    kind: Literal["bart"] = "bart"
    layers: Count
    """Of the encoder, and of the decoder where `decoder_layers` is not given."""
    heads: Count
    width: Count
    """Size of the hidden state; a multiple of `heads`."""
    decoder_layers: Count | None = None
    feed_forward: Count | None = None
    """Inner size of the feed-forward block; 4 times the width where it is not given."""
    context: Count | None = None
    """Longest sequence in tokens; the data's longest text or target where it is not given."""
    dropout: Ratio = 0.0
    """Of embeddings and residuals."""
    attention_dropout: Ratio = 0.0
    activation_dropout: Ratio = 0.0
    """Inside the feed-forward block."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Bart:
        return check_heads(self)

    @property
    def inner(self) -> int:
        """Inner size of the feed-forward block."""
        return self.feed_forward or 4 * self.width

    def parameters(self, vocab_size: int, context: int) -> int:
        """Number of weights, the tied output layer counted once."""
        attention = 4 * dense(self.width, self.width) + 2 * self.width
        forward = dense(self.width, self.inner) + dense(self.inner, self.width) + 2 * self.width
        positions = 2 * ((context + 2) * self.width + 2 * self.width)
        encoder = self.layers * (attention + forward)
        decoder = (self.decoder_layers or self.layers) * (2 * attention + forward)
        return vocab_size * self.width + positions + encoder + decoder
