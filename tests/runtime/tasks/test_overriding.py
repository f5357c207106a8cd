"""Fields over an existing model's configuration: taken in each family by its own names, or refused by name."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)

from job_texts import TUNE
from task_cases import LABELS, Case, Memory, batch_of, made_tokenizer, model_of, reviews, training
from trainshed.errors import PlatformError, SpecError
from trainshed.runtime import tasks
from trainshed.spec.document.override import override
from trainshed.spec.load import job_from_data
from trainshed.spec.plan.model import cost_of
from trainshed.spec.training.models import DataSizes, Pretrained
from trainshed.spec.training.tasks import CausalLm, ImageClassification, MaskedLm, Seq2SeqLm, TextClassification

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
ROTARY = {**SIZES, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 24}
FAMILIES = {
    "llama": (CausalLm(), AutoModelForCausalLM, ROTARY),
    "qwen2": (CausalLm(), AutoModelForCausalLM, {**ROTARY, "head_dim": None}),
    "qwen3": (CausalLm(), AutoModelForCausalLM, ROTARY),
    "gemma": (CausalLm(), AutoModelForCausalLM, ROTARY),
    "opt": (CausalLm(), AutoModelForCausalLM, {**SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "gpt2": (CausalLm(), AutoModelForCausalLM, {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 32}),
    "bert": (MaskedLm(), AutoModelForMaskedLM, SIZES),
    "roberta": (MaskedLm(), AutoModelForMaskedLM, SIZES),
    "deberta-v2": (MaskedLm(), AutoModelForMaskedLM, SIZES),
    "t5": (
        Seq2SeqLm(),
        AutoModelForSeq2SeqLM,
        {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 1, "num_heads": 2},
    ),
    "vit": (ImageClassification(), AutoModelForImageClassification, {**SIZES, "image_size": 8, "patch_size": 4}),
}
ROTARY_FAMILIES = ("llama", "qwen2", "qwen3", "gemma")
FIELDS = {
    "llama": {"attention_dropout"},
    "qwen2": {"attention_dropout"},
    "qwen3": {"attention_dropout"},
    "gemma": {"attention_dropout"},
    "opt": {"dropout", "attention_dropout"},
    "gpt2": {"resid_pdrop", "embd_pdrop", "attn_pdrop", "summary_first_dropout"},
    "bert": {"hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"},
    "roberta": {"hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"},
    "deberta-v2": {"hidden_dropout_prob", "attention_probs_dropout_prob", "pooler_dropout"},
    "t5": {"dropout_rate", "classifier_dropout"},
    "vit": {"hidden_dropout_prob", "attention_probs_dropout_prob"},
}


@pytest.fixture
def data(tmp_path):
    """A tokenizer of its own for reviews, and what tasks know of the data."""
    texts, classes = reviews()
    vocab = made_tokenizer(tmp_path / "tokenizer", texts)
    facts = tasks.DataFacts(vocab, 24, tmp_path / "tokenizer", labels=LABELS)
    return facts, texts, classes


def saved(family, folder, facts, **changes):
    """A small model of a family, as its page on the hub would have it, with the data's tokenizer beside it."""
    _, auto, sizes = FAMILIES[family]
    special = facts.special
    marks = {"eos_token_id": special.eos, "bos_token_id": special.eos, "pad_token_id": special.pad}
    if family == "vit":
        marks = {}
    elif family == "t5":
        marks["decoder_start_token_id"] = special.pad
    vocab = {} if family == "vit" else {"vocab_size": facts.vocab_size}
    said = {key: value for key, value in {**sizes, **vocab, **marks, **changes}.items() if value is not None}
    config = AutoConfig.for_model(family, **said)
    torch.manual_seed(0)
    auto.from_config(config).save_pretrained(folder)
    if family != "vit":
        AutoTokenizer.from_pretrained(facts.text_folder).save_pretrained(folder)
    return folder


def task_of(family, folder, facts, *, task=None, **over):
    if family == "vit":
        facts = tasks.DataFacts(0, 0, None, labels=LABELS, label_counts=(2, 2, 2), image=(8, 3))
    if family == "t5":
        facts = dataclasses.replace(facts, max_target_tokens=8)
    own, _, _ = FAMILIES[family]
    return tasks.build(training(task or own, Pretrained(name_or_path=str(folder), **over)), facts)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_number_is_the_dropout_of_all_the_fields_that_a_family_has(family, tmp_path, data):
    folder = saved(family, tmp_path / "model", data[0])
    task = task_of(family, folder, data[0], dropout=0.37)
    said = task.make_model().config.to_dict()
    assert {name for name, value in said.items() if value == 0.37} == FIELDS[family]
    name = min(FIELDS[family])
    one = task_of(family, folder, data[0], dropout={name: 0.21}).make_model().config.to_dict()
    assert [key for key, value in one.items() if value == 0.21] == [name]


@pytest.mark.parametrize("family", ["llama", "opt", "bert", "t5"])
def test_dropout_drops_and_is_not_there_where_the_model_answers(family, tmp_path, data):
    folder = saved(family, tmp_path / "model", data[0])
    model = task_of(family, folder, data[0], dropout=0.5).make_model()
    given = {"input_ids": torch.arange(3, 15).view(1, -1)}
    if family == "t5":
        given["decoder_input_ids"] = given["input_ids"]
    with torch.no_grad():
        model.train()
        assert not torch.equal(model(**given).logits, model(**given).logits)
        model.eval()
        assert torch.equal(model(**given).logits, model(**given).logits)


def test_a_field_that_a_family_has_not_is_refused_with_the_nearest(tmp_path, data):
    folder = saved("gpt2", tmp_path / "model", data[0])
    with pytest.raises(PlatformError, match=r"model\.dropout\.attention_pdrop: a gpt2 has none; .*attn_pdrop"):
        task_of("gpt2", folder, data[0], dropout={"attention_pdrop": 0.1})


def test_the_plan_knows_the_dropout(tmp_path, data):
    folder = saved("bert", tmp_path / "model", data[0], hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    sizes = DataSizes(vocab_size=data[0].vocab_size, context=24)
    for dropout in (None, 0.2):
        job = training(MaskedLm(), Pretrained(name_or_path=str(folder), dropout=dropout))
        (layers,) = cost_of(job, sizes).layers
        assert (layers.dropout, layers.attention_dropout) == ((0.0, 0.0) if dropout is None else (0.2, 0.2))


@pytest.mark.parametrize("family", ROTARY_FAMILIES)
@pytest.mark.parametrize("scaling", [{"rope_type": "linear"}, {"rope_type": "yarn"}, {"rope_type": "llama3"}], ids=str)
def test_scaled_positions_take_longer_samples_and_are_exported(family, scaling, tmp_path, data):
    facts = data[0]
    folder = saved(family, tmp_path / "model", facts)
    longer = dataclasses.replace(facts, block_size=48)
    with pytest.raises(PlatformError, match="it takes 24 tokens, the data's samples have up to 48"):
        task_of(family, folder, longer)
    task = task_of(family, folder, longer, rope_scaling={**scaling, "factor": 2.0})
    model = task.make_model().eval()
    given = torch.arange(3, 43).view(1, -1)
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    (tmp_path / "out").mkdir()
    task.export(dict(model.state_dict()), tmp_path / "out")
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        assert not torch.allclose(model(given).logits, plain(given).logits, atol=1e-5)
        torch.testing.assert_close(opened(given).logits, model(given).logits)
    assert opened.config.max_position_embeddings == 48
    said = json.loads((tmp_path / "out/config.json").read_text())["rope_parameters"]
    assert (said["rope_type"], said["factor"], said["rope_theta"]) == (scaling["rope_type"], 2.0, 10000.0)


def test_positions_that_do_not_turn_are_not_scaled(tmp_path, data):
    folder = saved("gpt2", tmp_path / "model", data[0])
    with pytest.raises(PlatformError, match=r"model\.rope_scaling: a gpt2 has no rotary positions; leave it out"):
        task_of("gpt2", folder, data[0], rope_scaling={"rope_type": "linear", "factor": 2.0})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["eager", "sdpa"])
def test_attention_is_of_the_implementation_that_is_said_or_refused(family, kind, tmp_path, data):
    folder = saved(family, tmp_path / "model", data[0])
    if (family, kind) == ("deberta-v2", "sdpa"):
        with pytest.raises(PlatformError, match=r"model\.attn_implementation: a deberta-v2 has no sdpa; say eager"):
            task_of(family, folder, data[0], attn_implementation=kind)
        return
    model = task_of(family, folder, data[0], attn_implementation=kind).make_model()
    assert model.config._attn_implementation == kind


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model.attn_implementation": "flash_attention_2"}, "flash_attention_2 needs workers.gpus above 0, got 0"),
        (
            {"model.attn_implementation": "flash_attention_2", "workers.gpus": 1},
            "flash_attention_2 needs precision bf16 or fp16, got fp32",
        ),
        ({"model.added_tokens": ["<call>"], "lora": {"rank": 2}}, "model.added_tokens: lora freezes the embeddings"),
        ({"model.dropout": 1.5}, "dropout"),
        ({"model.rope_scaling": {"rope_type": "linear", "factor": 0.5}}, "factor"),
    ],
)
def test_what_cannot_go_together_is_refused_before_anything_is_started(changes, said):
    job = override(job_from_data(TUNE).train, {"model": {"kind": "pretrained", "name_or_path": "org/model"}})
    with pytest.raises(SpecError, match=said):
        override(job, changes)


def with_added(facts, folder, *tokens):
    """The data's tokenizer with more tokens, as transformers saves it, and the data that is made with it."""
    tokenizer = AutoTokenizer.from_pretrained(facts.text_folder)
    assert tokenizer.add_tokens(list(tokens)) == len(tokens)
    tokenizer.save_pretrained(folder)
    return dataclasses.replace(facts, tokenizer=folder, vocab_size=len(tokenizer))


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma", "opt", "gpt2", "bert", "t5"])
def test_added_tokens_begin_near_the_mean_of_the_embeddings_and_are_exported(family, tmp_path, data):
    facts = data[0]
    folder = saved(family, tmp_path / "model", facts)
    more = with_added(facts, tmp_path / "more", "<call>", "<answer>")
    task = task_of(family, folder, more, added_tokens=["<call>", "<answer>"])
    torch.manual_seed(0)
    model = task.make_model()
    rows = model.get_input_embeddings().weight.detach()
    before = FAMILIES[family][1].from_pretrained(folder).get_input_embeddings().weight.detach()
    assert rows.shape[0] == more.vocab_size == facts.vocab_size + 2
    assert torch.equal(rows[: facts.vocab_size], before)
    torch.testing.assert_close(rows[facts.vocab_size :], before.mean(0).expand(2, -1), atol=2e-3, rtol=0.1)
    (tmp_path / "out").mkdir()
    task.export(dict(model.state_dict()), tmp_path / "out")
    opened = FAMILIES[family][1].from_pretrained(tmp_path / "out")
    assert torch.equal(opened.get_input_embeddings().weight, rows)
    assert opened.config.vocab_size == more.vocab_size
    assert opened.get_output_embeddings().weight.shape[0] == more.vocab_size
    assert AutoTokenizer.from_pretrained(tmp_path / "out").convert_tokens_to_ids("<answer>") == more.vocab_size - 1


def test_every_worker_gets_the_same_new_rows(tmp_path, data):
    folder = saved("llama", tmp_path / "model", data[0])
    more = with_added(data[0], tmp_path / "more", "<call>")
    made = []
    for _ in range(2):
        torch.manual_seed(5)  # as an engine does before it makes the model
        made.append(task_of("llama", folder, more, added_tokens=["<call>"]).make_model().state_dict())
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


@pytest.mark.parametrize(
    ("there", "said", "message"),
    [
        ((), ("<call>",), r"model\.added_tokens: the data's tokenizer has no '<call>'; add it to the tokenizer"),
        (("<call>", "<other>"), ("<call>",), "the model knows .* tokens, the data has"),
        (("<call>",), (), "the model knows .* tokens, the data has"),
    ],
)
def test_tokens_that_are_not_in_both_are_refused(there, said, message, tmp_path, data):
    facts = data[0]
    folder = saved("llama", tmp_path / "model", facts)
    more = with_added(facts, tmp_path / "more", *there) if there else facts
    with pytest.raises(PlatformError, match=message):
        task_of("llama", folder, more, added_tokens=said)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_decoder_without_a_pad_token_labels_a_text_whatever_it_is_padded_with(family, tmp_path, data):
    facts, texts, classes = data
    folder = saved(family, tmp_path / "model", facts, pad_token_id=None)
    assert json.loads((folder / "config.json").read_text()).get("pad_token_id") is None
    own = training(TextClassification(), Pretrained(name_or_path=str(folder)))
    columns = {"tokens": facts.encoder.texts(texts), "label": classes}
    case = Case(own, dataclasses.replace(facts, label_counts=(16, 16, 16)), Memory(columns), [], None)
    model, losses = model_of(case, steps=24)
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    batch = batch_of(case, np.arange(8))
    lengths = batch["attention_mask"].sum(1)
    assert lengths.min() < lengths.max(), "samples of one length would prove nothing"
    assert all((row[:length] == 1).all() for row, length in zip(batch["attention_mask"], lengths, strict=True))
    wider = {"input_ids": (0, 9), "attention_mask": (0, 9)}
    with torch.no_grad():
        given = {name: batch[name] for name in wider}
        together = model(**given).logits
        alone = [model(input_ids=given["input_ids"][row : row + 1, :n]).logits for row, n in enumerate(lengths)]
        pads = {"input_ids": facts.pad, "attention_mask": 0}
        padded = {
            name: torch.nn.functional.pad(tensor, wider[name], value=pads[name]) for name, tensor in given.items()
        }
        farther = model(**padded).logits
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(farther, together, rtol=1e-4, atol=1e-5)
    (tmp_path / "out").mkdir()
    case.task.export(dict(model.state_dict()), tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text())["pad_token_id"] == facts.pad
