"""What a model costs: weights, which of them are trained, and the activations that a backward pass needs.

Activations are counted module by module as those of transformers keep them (after Korthikanti et al., arXiv 2205.05198,
section 4): `sdpa` keeps no scores, so there is no term in the square of the sequence, but where torch falls back to
plain attention. A test compares the counts with what autograd saves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from trainshed.spec.models import DataSizes, Gpt2, Llama, count_parameters, sequence_length
from trainshed.spec.train import Training

FP32 = 4
WIDTHS = {"fp32": 4, "bf16": 2, "fp16": 2}
CAUSAL_LOSS_COPIES = 3
"""fp32 copies of the logits at the peak: log-probabilities, their gradient, and the loss's."""
GELU, SWIGLU, TANH_GELU = 2, 4, 5
"""Tensors of the inner size that a feed-forward block keeps: torch's own GELU, SwiGLU, a GELU of single operations."""
PLAIN_SCORES = {4: 12, 2: 15}
"""Bytes that torch's plain attention keeps of a score, by bytes of a number."""


@dataclass(frozen=True)
class Layers:
    """So many equal transformer layers."""

    count: int
    width: int
    inner: int
    heads: int
    kv_share: float = 1.0
    """Key and value heads / heads."""
    kept_inner: int = GELU
    attentions: int = 1
    """2 where a decoder also attends to an encoder."""
    rms: bool = False
    """RMSNorm of single operations, not torch's LayerNorm."""
    dropout: float = 0.0
    attention_dropout: float = 0.0


@dataclass(frozen=True)
class ModelCost:
    """What a plan needs to know of a model; None where only the cluster can tell."""

    parameters: int | None
    trainable: int | None
    tokens: int
    """Of one sample."""
    vocab_size: int
    """Numbers that the model answers for each token; 0 where it answers once for a sample."""
    layers: tuple[Layers, ...] | None


def cost_of(training: Training, sizes: DataSizes) -> ModelCost:
    """The cost of a training's model over data of these sizes."""
    parameters = count_parameters(training.model, sizes)
    return ModelCost(
        parameters=parameters,
        trainable=trainable_parameters(training, parameters),
        tokens=sequence_length(training.model, sizes),
        vocab_size=sizes.vocab_size or 0,
        layers=layers_of(training.model),
    )


def trainable_parameters(training: Training, parameters: int | None) -> int | None:  # noqa: ARG001 - no adapters yet
    """Weights that the optimizer moves; the others have no gradients and no optimizer states."""
    return parameters


def layers_of(model: Gpt2 | Llama) -> tuple[Layers, ...] | None:
    """The layers of a shape; None where they are not written in the job."""
    match model:
        case Gpt2():
            return (
                Layers(
                    model.layers,
                    model.width,
                    4 * model.width,
                    model.heads,
                    kept_inner=TANH_GELU,
                    dropout=model.dropout,
                    attention_dropout=model.dropout,
                ),
            )
        case Llama():
            return (
                Layers(
                    model.layers,
                    model.width,
                    model.inner,
                    model.heads,
                    kv_share=(model.kv_heads or model.heads) / model.heads,
                    kept_inner=SWIGLU,
                    rms=True,
                    attention_dropout=model.dropout,
                ),
            )
        case _:
            assert_never(model)


def activation_bytes(cost: ModelCost, samples: int, *, width: int, checkpointing: bool, gpu: bool) -> int:
    """Bytes alive at the peak of one pass over `samples`: what the layers keep, and the logits with their gradients."""
    if cost.layers is None:
        return 0
    logits = cost.tokens * cost.vocab_size * (width + CAUSAL_LOSS_COPIES * FP32)
    edges = sum(4 * width * one.width * cost.tokens for one in cost.layers)  # embeddings and the last norm
    kept = sum(one.count * layer_bytes(one, cost.tokens, width=width, gpu=gpu) for one in cost.layers)
    if not checkpointing:
        return samples * (kept + edges + logits)
    inputs = sum(one.count * width * one.width * cost.tokens for one in cost.layers)
    again = max(layer_bytes(one, cost.tokens, width=width, gpu=gpu) for one in cost.layers)
    return samples * (inputs + edges + max(again, logits))


def layer_bytes(layer: Layers, tokens: int, *, width: int, gpu: bool) -> int:
    """Bytes that one layer keeps of one sample, in numbers of `width` bytes."""
    norms = layer.attentions + 1
    attention = layer.attentions * (2 + 2 * layer.kv_share) * layer.width  # queries, keys, values, answer
    kept = width * (attention + layer.kept_inner * layer.inner)
    if layer.rms:  # the input in fp32, the normed one, the scaled one
        kept += norms * layer.width * (FP32 + 2 * width)
    else:
        kept += norms * layer.width * 2 * width
    if layer.dropout:
        kept += norms * layer.width * (1 if gpu else width)
    if layer.attention_dropout and not gpu:  # torch has no fused attention with dropout on CPUs
        kept += layer.attentions * layer.heads * tokens * PLAIN_SCORES[width]
    return int(kept * tokens)
