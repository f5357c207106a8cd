"""Encoders: BERT reads text, ViT reads images, the LSTM is the classic baseline."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from trainshed.spec.document.part import Count, Part, Ratio
from trainshed.spec.training.models.shapes import check_heads, dense


class Bert(Part):
    """BERT: learnt positions, LayerNorm after each block, GELU (arXiv 1810.04805)."""

    kind: Literal["bert"] = "bert"
    layers: Count
    heads: Count
    width: Count
    """Size of the hidden state; a multiple of `heads`."""
    feed_forward: Count | None = None
    """Inner size of the feed-forward block; 4 times the width where it is not given."""
    context: Count | None = None
    """Longest sequence in tokens; the data's longest where it is not given."""
    dropout: Ratio = 0.0
    """Of embeddings and residuals."""
    attention_dropout: Ratio | None = None
    """`dropout` where it is not given."""
    classifier_dropout: Ratio | None = None
    """Before the classifier; `dropout` where it is not given."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Bert:
        return check_heads(self)

    @property
    def inner(self) -> int:
        """Inner size of the feed-forward block."""
        return self.feed_forward or 4 * self.width

    def parameters(self, vocab_size: int, context: int, *, labels: int = 0) -> int:
        """Number of weights: with a classifier over `labels`, or, where that is 0, with the masked-token head."""
        embeddings = (vocab_size + context + 2) * self.width + 2 * self.width
        head = (
            dense(self.width, self.width) + dense(self.width, labels)
            if labels
            else dense(self.width, self.width) + 2 * self.width + vocab_size
        )
        return embeddings + self.layers * _block(self.width, self.inner) + head


class Vit(Part):
    """Vision Transformer: an image is a sequence of patches (arXiv 2010.11929)."""

    kind: Literal["vit"] = "vit"
    layers: Count
    heads: Count
    width: Count
    """Size of the hidden state; a multiple of `heads`."""
    patch: Count
    """Pixels on each side of a patch; a divisor of the data's image size."""
    feed_forward: Count | None = None
    """Inner size of the feed-forward block; 4 times the width where it is not given."""
    dropout: Ratio = 0.0
    """Of embeddings and residuals."""
    attention_dropout: Ratio | None = None
    """`dropout` where it is not given."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Vit:
        return check_heads(self)

    @property
    def inner(self) -> int:
        """Inner size of the feed-forward block."""
        return self.feed_forward or 4 * self.width

    @property
    def context(self) -> None:
        """Positions follow from the image and the patch."""

    def parameters(self, size: int, channels: int, *, labels: int) -> int:
        """Number of weights for images of `size` pixels on each side and a classifier over `labels`."""
        positions = 1 + (size // self.patch) ** 2
        embeddings = (1 + positions) * self.width + dense(channels * self.patch**2, self.width)
        return embeddings + self.layers * _block(self.width, self.inner) + 2 * self.width + dense(self.width, labels)


class Lstm(Part):
    """Embedding, LSTM layers, mean and maximum over time, a linear classifier (Hochreiter and Schmidhuber 1997)."""

    kind: Literal["lstm"] = "lstm"
    width: Count
    """Size of the embedding."""
    hidden: Count
    """Size of a layer's state, in each direction."""
    layers: Count = 2
    bidirectional: bool = False
    dropout: Ratio = 0.0
    """Between the layers and before the classifier."""
    embedding_dropout: Ratio = 0.0
    """Of whole words: all of a word's embedding or nothing (arXiv 1512.05287)."""

    @property
    def context(self) -> None:
        """Any length will do."""

    def parameters(self, vocab_size: int, *, labels: int) -> int:
        """Number of weights with a classifier over `labels`."""
        directions = 2 if self.bidirectional else 1
        count = vocab_size * self.width
        inputs = self.width
        for _ in range(self.layers):
            count += directions * 4 * self.hidden * (inputs + self.hidden + 2)
            inputs = directions * self.hidden
        return count + dense(2 * inputs, labels)


def _block(width: int, inner: int) -> int:
    """Attention, feed-forward and two LayerNorms, all with biases."""
    return 4 * dense(width, width) + dense(width, inner) + dense(inner, width) + 4 * width
