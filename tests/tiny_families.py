"""Tiny models in the shapes of real families, each with the class of transformers that makes it."""

import copy

from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    BertConfig,
    DebertaV2Config,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    RobertaConfig,
    T5Config,
    ViTConfig,
)

SHAPE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 64,
    "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
ROTARY = {**SHAPE, "num_key_value_heads": 1}
MARKS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": 64}
EXPERTS = {**ROTARY, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2, "head_dim": 16}
CAUSAL, MASKED, SEQ2SEQ = AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM
FAMILIES = {
    "llama": (CAUSAL, LlamaConfig(**ROTARY)),
    "llama-tied": (CAUSAL, LlamaConfig(**ROTARY, tie_word_embeddings=True)),
    "qwen2": (CAUSAL, Qwen2Config(**ROTARY)),
    "qwen3": (CAUSAL, Qwen3Config(**ROTARY, head_dim=24)),
    "mistral": (CAUSAL, MistralConfig(**ROTARY)),
    "gemma2": (CAUSAL, Gemma2Config(**ROTARY, head_dim=16)),
    "gemma3": (CAUSAL, Gemma3TextConfig(**ROTARY, head_dim=16)),
    "phi": (CAUSAL, PhiConfig(**SHAPE)),
    "phi3": (CAUSAL, Phi3Config(**ROTARY)),
    "gpt2": (CAUSAL, GPT2Config(n_layer=2, n_head=2, n_embd=32, n_positions=16, **MARKS)),
    "opt": (CAUSAL, OPTConfig(**{**SHAPE, "ffn_dim": 64, "word_embed_proj_dim": 32})),
    "mixtral": (CAUSAL, MixtralConfig(**ROTARY, num_local_experts=4)),
    "qwen3-moe": (CAUSAL, Qwen3MoeConfig(**EXPERTS)),
    "bert": (MASKED, BertConfig(**SHAPE)),
    "roberta": (MASKED, RobertaConfig(**SHAPE)),
    "deberta": (MASKED, DebertaV2Config(**SHAPE, relative_attention=True, pos_att_type="p2c|c2p")),
    "t5": (
        SEQ2SEQ,
        T5Config(num_layers=2, d_model=32, d_kv=16, num_heads=2, d_ff=64, vocab_size=64),
    ),
    "bart": (
        SEQ2SEQ,
        BartConfig(
            encoder_layers=2, decoder_layers=2, d_model=32, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=16, **MARKS,
        ),
    ),
    "vit": (
        AutoModelForImageClassification,
        ViTConfig(
            num_hidden_layers=2, hidden_size=32, num_attention_heads=2, intermediate_size=64, image_size=8,
            patch_size=2, num_channels=1,
        ),
    ),
}  # fmt: skip


def config_of(name):
    """The configuration of a family, which the caller may change."""
    return copy.deepcopy(FAMILIES[name][1])
