"""Activations by arithmetic are those that autograd keeps of the models that transformers builds."""

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
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
)

from trainshed.errors import PlanError
from trainshed.runtime.encoding import SpecialIds
from trainshed.runtime.tasks.configuration import configuration
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.spec.plan import plan
from trainshed.spec.plan.described import described_layers
from trainshed.spec.plan.layers import layer_bytes, layers_of
from trainshed.spec.plan.model import cost_of
from trainshed.spec.training.models import T5, Bart, Bert, Config, DataSizes, Gpt2, Llama, Qwen3
from trainshed.spec.training.train import Training

TOKENS, SAMPLES, VOCAB = 64, 2, 48
SHAPES = {
    "gpt2": lambda layers: Gpt2(layers=layers, heads=4, width=128),
    "gpt2 with dropout": lambda layers: Gpt2(layers=layers, heads=4, width=128, dropout=0.1),
    "llama": lambda layers: Llama(layers=layers, heads=4, width=128),
    "llama with shared keys": lambda layers: Llama(layers=layers, heads=4, width=128, kv_heads=1),
    "qwen3": lambda layers: Qwen3(layers=layers, heads=4, width=128),
    "qwen3 with its own head size": lambda layers: Qwen3(layers=layers, heads=4, width=128, kv_heads=2, head_dim=64),
    "bert": lambda layers: Bert(layers=layers, heads=4, width=128, dropout=0.1),
    "t5": lambda layers: T5(layers=layers, heads=4, width=128),
    "bart": lambda layers: Bart(layers=layers, heads=4, width=128),
}
CLASSES = {"bert": AutoModelForSequenceClassification, "t5": AutoModelForSeq2SeqLM, "bart": AutoModelForSeq2SeqLM}


class Facts(DataFacts):
    """Sizes without a tokenizer on the disk."""

    special = SpecialIds(eos=0, bos=0, pad=1, mask=None, cls=None, all=frozenset((0, 1)))


def build(shape):
    facts = Facts(VOCAB, TOKENS, None, max_target_tokens=TOKENS, labels=("no", "yes") if shape.kind == "bert" else ())
    config = configuration(shape, facts, problem="single_label" if shape.kind == "bert" else None)
    attention = {} if shape.kind == "t5" else {"attn_implementation": "sdpa"}
    return CLASSES.get(shape.kind, AutoModelForCausalLM).from_config(config, **attention)


def kept_by_autograd(model, dtype, *, seq2seq):
    """Bytes of tensors that the backward pass needs, each storage once, parameters and buffers left out."""
    model = model.to(dtype).train()
    own = {one.untyped_storage().data_ptr() for one in [*model.parameters(), *model.buffers()]}
    kept, alive = {}, []

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        tokens = torch.randint(2, VOCAB, (SAMPLES, TOKENS))
        answers = {"decoder_input_ids": tokens} if seq2seq else {}
        model(input_ids=tokens, **answers)[0].sum()
    return sum(kept.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_layer_keeps_what_the_plan_says(shape, dtype):
    make = SHAPES[shape]
    kept = [kept_by_autograd(build(make(n)), dtype, seq2seq=make(n).kind in ("t5", "bart")) for n in (1, 3)]
    measured = (kept[1] - kept[0]) / 2 / SAMPLES
    planned = sum(layer_bytes(one, TOKENS, width=dtype.itemsize, gpu=False) for one in layers_of(make(1)))
    assert planned == pytest.approx(measured, rel=0.05)


ROTARY = {
    "hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 352,
    "vocab_size": VOCAB, "use_cache": False,
}  # fmt: skip
ENCODER = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 512, "vocab_size": VOCAB}
MARKS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
CONFIGS = {
    "llama": lambda n: LlamaConfig(**ROTARY, num_hidden_layers=n),
    "mistral": lambda n: MistralConfig(**ROTARY, num_hidden_layers=n, head_dim=64, sliding_window=None),
    "qwen2": lambda n: Qwen2Config(**ROTARY, num_hidden_layers=n),
    "qwen3": lambda n: Qwen3Config(**ROTARY, num_hidden_layers=n, head_dim=64),
    "opt": lambda n: OPTConfig(
        hidden_size=128, word_embed_proj_dim=128, num_attention_heads=4, ffn_dim=512, vocab_size=VOCAB,
        num_hidden_layers=n, use_cache=False, **MARKS),
    "bert": lambda n: BertConfig(**ENCODER, num_hidden_layers=n),
    "roberta": lambda n: RobertaConfig(**ENCODER, num_hidden_layers=n),
    "bart": lambda n: BartConfig(
        d_model=128, encoder_layers=n, decoder_layers=n, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=512, decoder_ffn_dim=512, vocab_size=VOCAB, use_cache=False, **MARKS),
    "gpt2": lambda n: GPT2Config(
        n_embd=128, n_head=4, n_layer=n, vocab_size=VOCAB, n_positions=TOKENS, use_cache=False),
    "gemma": lambda n: GemmaConfig(**ROTARY, num_hidden_layers=n, head_dim=96),
    "gemma3": lambda n: Gemma3TextConfig(**ROTARY, num_hidden_layers=n, head_dim=96),
    "phi": lambda n: PhiConfig(**ROTARY, num_hidden_layers=n),
    "phi3": lambda n: Phi3Config(**ROTARY, num_hidden_layers=n, pad_token_id=0),
    "mixtral": lambda n: MixtralConfig(
        **ROTARY, num_hidden_layers=n, num_local_experts=4, num_experts_per_tok=2),
    "qwen3 moe": lambda n: Qwen3MoeConfig(
        **ROTARY, num_hidden_layers=n, head_dim=64, moe_intermediate_size=96, num_experts=8, num_experts_per_tok=2),
}  # fmt: skip
OTHERS = {
    "gemma2": lambda n: Gemma2Config(**ROTARY, num_hidden_layers=n, head_dim=64),
    "qwen3 moe with dense layers": lambda n: Qwen3MoeConfig(
        **ROTARY, num_hidden_layers=n, head_dim=64, moe_intermediate_size=96, num_experts=8, num_experts_per_tok=2,
        mlp_only_layers=[0]),
    "deberta": lambda n: DebertaV2Config(
        **ENCODER, num_hidden_layers=n, relative_attention=True, pos_att_type=["p2c", "c2p"]),
    "deberta with buckets": lambda n: DebertaV2Config(
        **ENCODER, num_hidden_layers=n, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=32),
    "distilbert": lambda n: DistilBertConfig(dim=128, n_heads=4, hidden_dim=512, n_layers=n, vocab_size=VOCAB),
    "t5": lambda n: T5Config(
        d_model=128, d_kv=32, num_heads=4, d_ff=352, num_layers=n, vocab_size=VOCAB, use_cache=False,
        feed_forward_proj="gated-gelu"),
}  # fmt: skip


def measured_and_planned(config, dtype):
    """Bytes that two more layers keep of a sample, and what the plan says of config.json alone."""
    torch.manual_seed(0)
    both = config(1).is_encoder_decoder
    kept = [kept_by_autograd(AutoModel.from_config(config(n)), dtype, seq2seq=both) for n in (1, 3)]
    layers = described_layers(config(1).to_dict())
    planned = sum(layer_bytes(one, TOKENS, width=dtype.itemsize, gpu=False) for one in layers)
    return (kept[1] - kept[0]) / 2 / SAMPLES, planned


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_layer_that_config_json_describes_keeps_what_the_plan_says(name, dtype):
    measured, planned = measured_and_planned(CONFIGS[name], dtype)
    assert planned == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("name", OTHERS)
def test_a_layer_of_a_family_that_is_not_known_keeps_no_more_than_the_plan_says(name):
    measured, planned = measured_and_planned(OTHERS[name], torch.float32)
    assert measured <= planned <= 4 * measured


def test_a_config_without_sizes_says_nothing_of_layers():
    assert described_layers({"model_type": "mamba", "hidden_size": 8}) is None


@pytest.mark.parametrize("name", ["llama", "gemma", "gpt2", "opt", "mixtral", "qwen3 moe"])
def test_a_layer_has_the_weights_that_the_plan_gathers_at_once(name):
    """With all experts of a layer: a split model gathers them together."""
    weights = []
    for depth in (1, 2):
        with torch.device("meta"):
            model = AutoModel.from_config(CONFIGS[name](depth))
        weights.append(sum(one.numel() for one in model.parameters() if one.ndim > 1))
    (layer,) = described_layers(CONFIGS[name](1).to_dict())
    assert layer.matrices == pytest.approx(weights[1] - weights[0], rel=0.01)


def test_a_configuration_in_the_job_has_the_layers_of_its_config_json():
    said = CONFIGS["mixtral"](3).to_dict()
    sizes = {key: said[key] for key in (*ROTARY, "num_hidden_layers", "num_local_experts", "num_experts_per_tok")}
    model = Config(model_type="mixtral", settings=sizes, num_parameters=10**6)
    batch = {"count": 1, "per_device_batch_size": "auto", "memory_gb": 1.0}
    job = Training(
        model=model, data="run://text", optimizer={"kind": "adamw", "learning_rate": 0.001}, workers=batch,
        global_batch_size=64, steps=1,
    )  # fmt: skip
    data = DataSizes(vocab_size=VOCAB, context=TOKENS)
    assert cost_of(job, data).layers == described_layers(said)
    assert plan("a", job, data).chosen.per_device_batch_size == 64
    unsaid = job.model_copy(update={"model": Config(model_type="mixtral", num_parameters=10**6)})
    with pytest.raises(PlanError, match="activations can be counted"):
        plan("a", unsaid, data)
