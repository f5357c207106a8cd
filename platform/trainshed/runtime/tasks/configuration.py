"""Model shapes as transformers configurations, with the sizes that the data gives. Knows no weights."""

from __future__ import annotations

from typing import Any, assert_never

from transformers import (
    AutoConfig,
    BartConfig,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
    T5Config,
    ViTConfig,
)

from trainshed.errors import PlatformError
from trainshed.runtime.models.locate import LOAD_ERRORS, first_line, read_config
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.fitting import POSITIONS_AFTER_PADDING, check_sizes_fit, check_vocabulary
from trainshed.runtime.tasks.overriding import overridden
from trainshed.runtime.tasks.routing import refuse_unused
from trainshed.spec.document.walk import nearest
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
from trainshed.spec.training.models.folder import check_sizes

ROTARY = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}


def configuration(shape: Model, facts: DataFacts, *, problem: str | None = None) -> PreTrainedConfig:
    """The transformers configuration of a shape; `problem` is a classifier's, in transformers' words.

    Raises:
        PlatformError: an unknown architecture or setting, or sizes that do not fit the data.
    """
    labels = _labels(facts, problem)
    match shape:
        case Gpt2() | Llama() | Qwen2() | Qwen3():
            return _decoder(shape, facts)
        case Bert():
            return _bert(shape, facts, labels)
        case T5() | Bart():
            return _seq2seq(shape, facts)
        case Vit():
            return _vit(shape, facts, labels)
        case Config():
            return _any(shape, facts, labels)
        case Pretrained():
            config = overridden(shape, read_config(shape, **labels))
            if hasattr(config, "use_cache"):
                config.use_cache = False  # with a cache documents of a block see each other, and keys and values stay
            if facts.tokenizer is not None:
                check_vocabulary(shape, config, facts)
            if problem is not None:
                _pads_as_the_data(config, facts)
            return check_sizes_fit(config, facts)
        case Lstm():
            raise ValueError("an lstm has no transformers configuration")
        case _:
            assert_never(shape)


def _decoder(shape: Gpt2 | Llama | Qwen2 | Qwen3, facts: DataFacts) -> PreTrainedConfig:
    shared = {**_marks(facts), "use_cache": False}
    context = shape.context or facts.block_size
    if isinstance(shape, Gpt2):
        return GPT2Config(
            n_layer=shape.layers,
            n_head=shape.heads,
            n_embd=shape.width,
            n_positions=context,
            resid_pdrop=shape.dropout,
            embd_pdrop=_or(shape.embedding_dropout, shape.dropout),
            attn_pdrop=_or(shape.attention_dropout, shape.dropout),
            **shared,
        )
    own = {"head_dim": shape.head_size} if isinstance(shape, Qwen3) else {}
    config: PreTrainedConfig = ROTARY[shape.kind](
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads or shape.heads,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        max_position_embeddings=context,
        attention_dropout=shape.dropout,
        tie_word_embeddings=shape.tie_embeddings,
        **own,
        **shared,
    )
    return config


def _bert(shape: Bert, facts: DataFacts, labels: dict[str, Any]) -> PreTrainedConfig:
    return BertConfig(
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        max_position_embeddings=shape.context or facts.block_size,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=_or(shape.attention_dropout, shape.dropout),
        classifier_dropout=_or(shape.classifier_dropout, shape.dropout),
        **_marks(facts),
        **labels,
    )


def _seq2seq(shape: T5 | Bart, facts: DataFacts) -> PreTrainedConfig:
    marks = _marks(facts)
    if isinstance(shape, T5):
        return T5Config(
            d_model=shape.width,
            d_kv=shape.width // shape.heads,
            d_ff=shape.inner,
            num_layers=shape.layers,
            num_decoder_layers=shape.decoder_layers or shape.layers,
            num_heads=shape.heads,
            dropout_rate=shape.dropout,
            feed_forward_proj="gated-gelu",
            decoder_start_token_id=facts.pad,
            **marks,
        )
    return BartConfig(
        d_model=shape.width,
        encoder_layers=shape.layers,
        decoder_layers=shape.decoder_layers or shape.layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        encoder_ffn_dim=shape.inner,
        decoder_ffn_dim=shape.inner,
        max_position_embeddings=shape.context or max(facts.block_size, facts.max_target_tokens),
        dropout=shape.dropout,
        attention_dropout=shape.attention_dropout,
        activation_dropout=shape.activation_dropout,
        decoder_start_token_id=marks.get("eos_token_id", facts.pad),
        forced_eos_token_id=None,
        **marks,
    )


def _vit(shape: Vit, facts: DataFacts, labels: dict[str, Any]) -> PreTrainedConfig:
    size, channels = facts.image or (0, 0)
    return ViTConfig(
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        image_size=size,
        patch_size=shape.patch,
        num_channels=channels,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=_or(shape.attention_dropout, shape.dropout),
        **labels,
    )


def _any(shape: Config, facts: DataFacts, labels: dict[str, Any]) -> PreTrainedConfig:
    try:
        known = AutoConfig.for_model(shape.model_type)
    except ValueError:
        raise PlatformError(f"model.model_type: transformers knows no {shape.model_type!r}") from None
    names = set(known.to_dict()) | set(known.attribute_map)
    unknown = [name for name in shape.settings if name not in names]
    if unknown:
        raise PlatformError(f"model.settings.{unknown[0]}: {shape.model_type} has none; {nearest(unknown[0], names)}")
    refuse_unused(shape.settings)
    size, channels = facts.image or (0, 0)
    given = _marks(facts) if facts.tokenizer is not None else {"image_size": size, "num_channels": channels}
    if labels and facts.tokenizer is not None and shape.model_type not in POSITIONS_AFTER_PADDING:
        given["pad_token_id"] = facts.pad
    given |= {**labels, "use_cache": False}
    said = {name: value for name, value in given.items() if name in names or name in labels}
    try:
        config = AutoConfig.for_model(shape.model_type, **(said | shape.settings))
    except LOAD_ERRORS as error:
        raise PlatformError(f"model.settings: {first_line(error)}") from error
    check_sizes("model.settings", config.to_dict())
    return check_sizes_fit(config, facts)


def _marks(facts: DataFacts) -> dict[str, Any]:
    special = facts.special
    marks = {"bos_token_id": special.bos, "eos_token_id": special.eos, "pad_token_id": special.pad}
    return {"vocab_size": facts.vocab_size, **{name: number for name, number in marks.items() if number is not None}}


def _pads_as_the_data(config: PreTrainedConfig, facts: DataFacts) -> None:
    """A decoder that classifies looks at the last token that is no padding: it must know what the data pads with."""
    counts_from_it = config.is_encoder_decoder or config.model_type in POSITIONS_AFTER_PADDING
    if facts.tokenizer is not None and not counts_from_it:
        config.pad_token_id = facts.pad


def _labels(facts: DataFacts, problem: str | None) -> dict[str, Any]:
    if problem is None:
        return {}
    names = facts.labels or ("value",)
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": {
            "single_label": "single_label_classification",
            "multi_label": "multi_label_classification",
        }.get(problem, problem),
    }


def _or(own: float | None, shared: float) -> float:
    return shared if own is None else own
