"""The layers of a model, and what each keeps for the backward pass.

Counted module by module as those of transformers keep them (after Korthikanti et al., arXiv 2205.05198, section 4):
`sdpa` keeps no scores, so there is no term in the square of the sequence, but where torch falls back to plain
attention. A test compares the counts with what autograd saves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from trainshed.spec.training.models import (
    T5,
    Bart,
    Bert,
    Config,
    Gpt2,
    Llama,
    Lstm,
    Model,
    Pretrained,
    Qwen2,
    Qwen3,
    Vit,
)

FP32 = 4
RELU = 1
GELU = 2
SWIGLU = 4
TANH_GELU = 5
GATED_TANH_GELU = 7
"""Tensors of the inner size that a feed-forward block keeps: of torch's own functions, or of single operations."""
GATED = (SWIGLU, GATED_TANH_GELU)
"""Those of three matrices."""
PLAIN_SCORES = {4: 4, 2: 6}
DROPPED_SCORES = {4: 12, 2: 15}
"""Bytes that attention of single operations keeps of a score, by bytes of a number; and with dropout."""
ROUTED = 44
"""Bytes that a router keeps of a token for each expert that it chose: its number, its places, its weight."""
LSTM_STATES = 6
"""Gates, cell and output that an LSTM keeps, in sizes of its state."""


@dataclass(frozen=True)
class Layers:
    """So many equal transformer layers."""

    count: int
    width: int
    inner: int
    heads: int
    attention_width: int | None = None
    """Of all queries of a token; the width where it is not given."""
    kv_share: float = 1.0
    """Key and value heads / heads."""
    kept_inner: int = GELU
    attentions: int = 1
    """2 where a decoder also attends to an encoder."""
    attention_copies: float = 0.0
    """What attention keeps beside queries, keys, values and answers, in sizes of the queries: copies of them."""
    experts: int = 1
    """Feed-forward blocks that a router chooses from (arXiv 2101.03961)."""
    chosen: int = 1
    """Of which each token takes so many."""
    norms: int | None = None
    """Of the layer's input and of blocks' inputs; one before each block where it is not given."""
    norms_behind: int = 0
    """Norms of what a block gives, which no linear layer reads."""
    rms: bool = False
    """RMSNorm of single operations, not torch's LayerNorm."""
    fp32_scale: bool = False
    """RMSNorm that scales in fp32 whatever the precision, as Gemma's does."""
    head_norms: bool = False
    """Queries and keys are normed too."""
    relative: int = 0
    """Distances that each token is scored against beside the tokens, both ways (DeBERTa, arXiv 2006.03654)."""
    plain: bool = False
    """Attention of single operations, which keeps its scores."""
    dropout: float = 0.0
    attention_dropout: float = 0.0

    @property
    def queries(self) -> int:
        """Numbers in all queries of a token."""
        return self.attention_width or self.width

    @property
    def matrices(self) -> int:
        """Weights of one layer, without its vectors."""
        attention = self.attentions * (2 + 2 * self.kv_share) * self.width * self.queries
        feed_forward = (3 if self.kept_inner in GATED else 2) * self.width * self.inner
        return int(attention + self.experts * feed_forward)


def layers_of(model: Model) -> tuple[Layers, ...] | None:
    """The layers of a shape, encoder first; None where they are not written in the job."""
    match model:
        case Gpt2():
            own = Layers(model.layers, model.width, 4 * model.width, model.heads, kept_inner=TANH_GELU)
            return (_dropped(own, model.dropout, model.attention_dropout),)
        case Llama() | Qwen2() | Qwen3():
            own = Layers(
                count=model.layers,
                width=model.width,
                inner=model.inner,
                heads=model.heads,
                attention_width=model.heads * model.head_size,
                kv_share=(model.kv_heads or model.heads) / model.heads,
                kept_inner=SWIGLU,
                rms=True,
                head_norms=isinstance(model, Qwen3),
                attention_dropout=model.dropout,
            )
            return (own,)
        case Bert() | Vit():
            own = Layers(model.layers, model.width, model.inner, model.heads)
            return (_dropped(own, model.dropout, model.attention_dropout),)
        case T5():
            encoder = Layers(
                model.layers,
                model.width,
                model.inner,
                model.heads,
                kept_inner=GATED_TANH_GELU,
                rms=True,
                plain=True,
                dropout=model.dropout,
                attention_dropout=model.dropout,
            )
            return encoder, replace(encoder, count=model.decoder_layers or model.layers, attentions=2)
        case Bart():
            own = Layers(model.layers, model.width, model.inner, model.heads)
            encoder = _dropped(own, model.dropout, model.attention_dropout)
            return encoder, replace(encoder, count=model.decoder_layers or model.layers, attentions=2)
        case Lstm():
            sides = 2 if model.bidirectional else 1
            states = LSTM_STATES * sides * model.hidden
            return (Layers(model.layers, sides * model.hidden, states, 1, kept_inner=1, attentions=0),)
        case Config() | Pretrained():
            return None
        case _:
            assert_never(model)


def layer_bytes(layer: Layers, tokens: int, *, width: int, gpu: bool) -> int:
    """Bytes that one layer keeps of one sample, in numbers of `width` bytes."""
    norms = layer.attentions + 1 if layer.norms is None else layer.norms
    own = 2 + 2 * layer.kv_share + layer.attention_copies  # queries, keys, values, answer
    kept = width * (layer.attentions * own * layer.queries + layer.kept_inner * layer.inner * layer.chosen)
    normed = FP32 if layer.fp32_scale else width
    if layer.rms:  # the input in fp32, the normed one, the scaled one where a linear layer reads it
        kept += norms * layer.width * (FP32 + normed + width) + layer.norms_behind * layer.width * (FP32 + normed)
    else:
        kept += norms * layer.width * 2 * width
    if layer.head_norms:
        kept += (1 + layer.kv_share) * layer.queries * (FP32 + normed)
    if layer.experts > 1:  # what each expert reads and answers, and the router
        kept += layer.chosen * (2 * layer.width * width + ROUTED) + layer.experts * FP32
    if layer.dropout:
        kept += norms * layer.width * (1 if gpu else width)
    if layer.plain or (layer.attention_dropout and not gpu):  # torch has no fused attention with dropout on CPUs
        scores = DROPPED_SCORES if layer.attention_dropout else PLAIN_SCORES
        kept += layer.attentions * layer.heads * tokens * scores[width]
    kept += 2 * layer.heads * layer.relative * width
    distances = 4 * layer.relative * layer.width * width  # their keys and queries, and a copy of both for each sample
    return int(kept * tokens + distances)


def _dropped(layer: Layers, dropout: float, attention_dropout: float | None) -> Layers:
    """The layer with dropout; that of attention is the same where it is not given."""
    of_attention = dropout if attention_dropout is None else attention_dropout
    return replace(layer, dropout=dropout, attention_dropout=of_attention)
