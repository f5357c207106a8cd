"""Parameter counts by arithmetic are those of the models that transformers builds."""

import json
import struct

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from trainshed.runtime.encoding import SpecialIds
from trainshed.runtime.tasks.configuration import configuration
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.lstm import LstmNetwork, LstmShape
from trainshed.spec.training.models import (
    T5,
    Bart,
    Bert,
    Config,
    DataSizes,
    Gpt2,
    Llama,
    Lstm,
    Pretrained,
    Qwen2,
    Qwen3,
    Vit,
    count_parameters,
)

VOCAB, CONTEXT = 300, 128
LABELS = ("no", "yes", "perhaps")
TEXT = DataSizes(vocab_size=VOCAB, context=CONTEXT)
LABELLED = DataSizes(vocab_size=VOCAB, context=CONTEXT, labels=len(LABELS), image=(28, 3))
CASES = [
    (AutoModelForCausalLM, Gpt2(layers=2, heads=2, width=32), TEXT),
    (AutoModelForCausalLM, Gpt2(layers=3, heads=4, width=64, context=512), TEXT),
    (AutoModelForCausalLM, Llama(layers=2, heads=4, width=64), TEXT),
    (AutoModelForCausalLM, Llama(layers=2, heads=4, width=64, kv_heads=2, feed_forward=96, tie_embeddings=False), TEXT),
    (AutoModelForCausalLM, Qwen2(layers=2, heads=4, width=64, kv_heads=2), TEXT),
    (AutoModelForCausalLM, Qwen3(layers=2, heads=4, width=64, kv_heads=2, tie_embeddings=False), TEXT),
    (AutoModelForCausalLM, Qwen3(layers=2, heads=4, width=64, kv_heads=2, head_dim=32), TEXT),
    (AutoModelForCausalLM, Qwen3(layers=2, heads=3, width=64, kv_heads=1, head_dim=24, tie_embeddings=False), TEXT),
    (AutoModelForMaskedLM, Bert(layers=2, heads=4, width=64), TEXT),
    (AutoModelForSequenceClassification, Bert(layers=2, heads=4, width=64, feed_forward=96), LABELLED),
    (AutoModelForSeq2SeqLM, T5(layers=2, heads=4, width=64), TEXT),
    (AutoModelForSeq2SeqLM, T5(layers=1, heads=4, width=64, decoder_layers=3, feed_forward=80), TEXT),
    (AutoModelForSeq2SeqLM, Bart(layers=2, heads=4, width=64, decoder_layers=1), TEXT),
    (AutoModelForImageClassification, Vit(layers=2, heads=4, width=64, patch=7), LABELLED),
]


class Facts(DataFacts):
    """Sizes without a tokenizer on the disk."""

    special = SpecialIds(eos=0, bos=0, pad=1, mask=2, cls=None, all=frozenset((0, 1, 2)))


def facts(sizes):
    labels = LABELS if sizes.labels else ()
    return Facts(VOCAB, CONTEXT, None, max_target_tokens=16, labels=labels, image=sizes.image)


@pytest.mark.parametrize(("auto", "shape", "sizes"), CASES, ids=lambda case: getattr(case, "kind", ""))
def test_the_count_is_exact(auto, shape, sizes):
    problem = "single_label" if sizes.labels else None
    with torch.device("meta"):
        model = auto.from_config(configuration(shape, facts(sizes), problem=problem))
    assert count_parameters(shape, sizes) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_count_of_an_lstm_is_exact(bidirectional):
    shape = Lstm(width=24, hidden=16, bidirectional=bidirectional)
    fields = shape.model_dump(exclude={"kind"})
    network = LstmNetwork(LstmShape(vocab_size=VOCAB, labels=LABELS, **fields))
    assert count_parameters(shape, LABELLED) == sum(p.numel() for p in network.parameters())


def test_weights_that_are_there_are_counted_from_their_headers(tmp_path):
    header = {"__metadata__": {}, "a": {"shape": [3, 4]}, "b": {"shape": [5]}, "c": {"shape": []}}
    content = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(content)) + content)
    assert count_parameters(Pretrained(name_or_path=str(tmp_path)), TEXT) == 18


def test_only_the_cluster_counts_a_configuration_and_a_hub_name():
    assert count_parameters(Config(model_type="mistral"), TEXT) is None
    assert count_parameters(Pretrained(name_or_path="org/model"), TEXT) is None


def test_a_place_is_a_directory_an_address_or_a_hub_name():
    for place in ("../model", "org/model/file", "with blanks"):
        with pytest.raises(ValueError, match="hub name"):
            Pretrained(name_or_path=place)


def test_the_real_qwen3_is_counted():
    """0.6B as on its page: 16 heads of 128 numbers, 28 layers, a width of 1,024."""
    real = Qwen3(layers=28, heads=16, kv_heads=8, width=1024, feed_forward=3072, head_dim=128)
    assert count_parameters(real, DataSizes(vocab_size=151_936, context=128)) == 596_049_920
    with pytest.raises(ValueError, match="multiple of 2"):
        Qwen3(layers=1, heads=2, width=64, head_dim=33)
    with pytest.raises(ValueError, match="width must be a multiple of heads"):
        Qwen3(layers=1, heads=3, width=64)
