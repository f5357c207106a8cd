"""The layers of a model that a folder's config.json describes, as far as a plan needs them.

Families whose layers are known are counted as they are; of others, whatever is kept at most is taken, so that what the
plan says fits does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trainshed.spec.plan.layers import GATED_TANH_GELU, GELU, RELU, SWIGLU, TANH_GELU, Layers
from trainshed.spec.training.models import DataSizes

ROTARY = ("llama", "mistral", "qwen2")
ENCODERS = ("bert", "camembert", "electra", "roberta", "vit", "xlm-roberta")
BARTS = ("bart", "mbart")
WIDTH = ("hidden_size", "d_model", "n_embd", "dim")
DEPTH = ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers")
HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads", "encoder_attention_heads")
INNER = ("intermediate_size", "n_inner", "d_ff", "encoder_ffn_dim", "ffn_dim", "hidden_dim")
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")

Said = Mapping[str, Any]


def described_layers(config: Said) -> tuple[Layers, ...] | None:
    """The layers, encoder first; None where config.json lacks the sizes that they follow from."""
    width, depth, heads = (_whole(config, names) for names in (WIDTH, DEPTH, HEADS))
    if width is None or depth is None or heads is None:
        return None
    inner = _whole(config, INNER) or 4 * width
    own = Layers(depth, width, inner, heads)
    kind = config.get("model_type")
    match kind:
        case "qwen3":
            return (replace(_rotary(own, config), head_norms=True),)
        case "gemma":
            return (replace(_rotary(own, config), fp32_scale=True),)
        case "gemma3_text":
            return (replace(_rotary(own, config), fp32_scale=True, head_norms=True, norms_behind=2),)
        case "phi":
            return (_phi(own, config),)
        case "phi3":
            whole = _rotary(own, config)
            return (replace(whole, attention_copies=2 + whole.kv_share),)  # its projections are one matrix
        case "mixtral":
            return (_routed(_rotary(own, config), config),)
        case "qwen3_moe" if not _some_are_dense(config):
            inner = _whole(config, ("moe_intermediate_size",)) or inner
            whole = replace(_rotary(own, config), inner=inner, head_norms=True)
            return (_routed(whole, config),)
        case "gpt2":
            return (replace(_dropped(own, config, ("resid_pdrop",), ("attn_pdrop",)), kept_inner=TANH_GELU),)
    if kind in ROTARY:
        return (_rotary(own, config),)
    if kind == "opt":
        kept = RELU if config.get("activation_function", "relu") == "relu" else GELU
        return (replace(_dropped(own, config, ("dropout",), ("attention_dropout",)), kept_inner=kept),)
    if kind in ENCODERS:
        return (_dropped(own, config, ("hidden_dropout_prob",), ("attention_probs_dropout_prob",)),)
    if kind in BARTS:
        return _with_decoder(_dropped(own, config, ("dropout",), ("attention_dropout",)), config)
    return _at_most(own, config)


def described_tokens(config: Said, sizes: DataSizes) -> int | None:
    """Tokens that a vision model makes of an image; None of a text."""
    patch = _whole(config, ("patch_size",))
    size = _whole(config, ("image_size",))
    if sizes.image is None or patch is None or size is None:
        return None
    return 1 + (size // patch) ** 2


def described_vocabulary(config: Said) -> int | None:
    """Tokens that the model gives a score to; more than the data's where it has room for others."""
    return _whole(config, ("vocab_size",))


def _rotary(own: Layers, config: Said) -> Layers:
    head = _whole(config, ("head_dim",)) or own.width // own.heads
    return replace(
        own,
        attention_width=own.heads * head,
        kv_share=(_whole(config, ("num_key_value_heads",)) or own.heads) / own.heads,
        kept_inner=SWIGLU,
        rms=True,
        attention_dropout=_share(config, ("attention_dropout",)),
    )


def _phi(own: Layers, config: Said) -> Layers:
    """Attention and feed-forward block beside one another, behind one LayerNorm; only a part of each head is turned."""
    kv_share = (_whole(config, ("num_key_value_heads",)) or own.heads) / own.heads
    dropped = _dropped(own, config, ("resid_pdrop",), ("attention_dropout",))
    return replace(dropped, kv_share=kv_share, kept_inner=TANH_GELU, norms=1, attention_copies=1)


def _routed(own: Layers, config: Said) -> Layers:
    chosen = _whole(config, ("num_experts_per_tok",)) or 1
    return replace(own, experts=_whole(config, EXPERTS) or chosen, chosen=chosen)


def _some_are_dense(config: Said) -> bool:
    """Whether not every layer has experts."""
    return bool(config.get("mlp_only_layers")) or config.get("decoder_sparse_step", 1) != 1


def _at_most(own: Layers, config: Said) -> tuple[Layers, ...]:
    """Layers of an unknown kind: norms and attention of single operations, dropout, every expert that a token takes."""
    head = _whole(config, ("head_dim", "d_kv"))
    most = replace(
        _routed(own, config),
        attention_width=max(own.width, own.heads * (head or 0)),
        kept_inner=GATED_TANH_GELU + 2,  # dropout in between
        rms=True,
        relative=_distances(config),
        plain=True,
        dropout=1.0,
        attention_dropout=1.0,
    )
    return _with_decoder(most, config) if config.get("is_encoder_decoder") is True else (most,)


def _distances(config: Said) -> int:
    """How many distances DeBERTa's attention tells apart; 0 of other families."""
    if config.get("relative_attention") is not True:
        return 0
    names = ("position_buckets", "max_relative_positions", "max_position_embeddings")
    return 2 * (_whole(config, names) or 0)


def _with_decoder(encoder: Layers, config: Said) -> tuple[Layers, ...]:
    count = _whole(config, ("decoder_layers", "num_decoder_layers")) or encoder.count
    inner = _whole(config, ("decoder_ffn_dim",)) or encoder.inner
    return encoder, replace(encoder, count=count, inner=inner, attentions=2)


def _dropped(own: Layers, config: Said, dropout: tuple[str, ...], attention: tuple[str, ...]) -> Layers:
    return replace(own, kept_inner=GELU, dropout=_share(config, dropout), attention_dropout=_share(config, attention))


def _whole(config: Said, names: tuple[str, ...]) -> int | None:
    """The first of these keys with a whole number over 0."""
    return next((config[name] for name in names if type(config.get(name)) is int and config[name] > 0), None)


def _share(config: Said, names: tuple[str, ...]) -> float:
    found = next((config[name] for name in names if name in config), 0.0)
    return float(found) if isinstance(found, int | float) else 1.0
