"""What goes out: the precision asked for, adapters merged in fp32 or alone, and what lay beside existing weights."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from task_cases import CASES, SHAPE, batch_of, image_case, model_of, packed_case, tuned_case
from trainshed.errors import PlatformError
from trainshed.runtime.tasks import build
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.export import Export
from trainshed.spec.training.models import Llama, Pretrained

LORA = Lora(rank=4, alpha=8, target_modules="all-linear")
GENERATION = {
    "bos_token_id": 0, "eos_token_id": [0, 5, 7], "temperature": 0.6, "top_p": 0.95, "do_sample": True,
    "transformers_version": "4.50.0",
}  # fmt: skip


def asking(case, **export):
    return dataclasses.replace(case, training=case.training.model_copy(update={"export": Export(**export)}))


def exported(case, state, folder):
    folder.mkdir()
    case.task.export(state, folder)
    return folder


def types_of(folder):
    return {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()}


def halved(folder):
    """An existing model's files with its weights in bf16."""
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture
def tuned(tmp_path):
    """A training of existing weights, which lie in `existing`."""
    return tuned_case(tmp_path / "tokenizer")


@pytest.fixture
def adapted(tmp_path):
    """The same with adapters, after some steps."""
    case = tuned_case(tmp_path / "tokenizer", lora=LORA)
    return case, model_of(case, steps=12)[0]


# Precision


@pytest.mark.parametrize(
    ("stored", "asked", "written"),
    [
        ("fp32", "as_loaded", torch.float32), ("fp32", "bf16", torch.bfloat16), ("fp32", "fp32", torch.float32),
        ("bf16", "as_loaded", torch.bfloat16), ("bf16", "bf16", torch.bfloat16), ("bf16", "fp32", torch.float32),
    ],
)  # fmt: skip
def test_weights_are_written_in_the_precision_asked(stored, asked, written, tuned, tmp_path):
    if stored == "bf16":
        halved(tmp_path / "existing")
    state = dict(model_of(tuned, steps=2)[0].state_dict())
    folder = exported(asking(tuned, dtype=asked), state, tmp_path / "out")
    assert types_of(folder) == {written}
    assert json.loads((folder / "config.json").read_text())["dtype"] == str(written).removeprefix("torch.")
    opened = AutoModelForCausalLM.from_pretrained(folder)
    assert all(torch.equal(tensor, state[name].to(written)) for name, tensor in opened.state_dict().items())
    assert all(tensor.dtype == torch.float32 for tensor in state.values()), "the trained weights are left alone"


def test_a_fresh_model_is_written_in_fp32(tmp_path):
    case = packed_case(tmp_path / "tokenizer", Llama(**SHAPE))
    state = dict(model_of(case)[0].state_dict())
    assert types_of(exported(case, state, tmp_path / "out")) == {torch.float32}
    assert types_of(exported(asking(case, dtype="bf16"), state, tmp_path / "half")) == {torch.bfloat16}


def test_an_lstm_is_written_in_the_precision_asked(tmp_path):
    case = asking(CASES["lstm_classifier"](tmp_path / "tokenizer"), dtype="bf16")
    state = dict(model_of(case)[0].state_dict())
    folder = exported(case, state, tmp_path / "out")
    assert types_of(folder) == {torch.bfloat16}
    assert case.open(folder).embedding.weight.dtype == torch.float32


# Adapters


@pytest.mark.parametrize("stored", ["fp32", "bf16"])
def test_adapters_are_merged_in_fp32_and_then_rounded(stored, tmp_path):
    case = tuned_case(tmp_path / "tokenizer", lora=LORA)
    if stored == "bf16":
        halved(tmp_path / "existing")
    state = dict(model_of(case, steps=12)[0].state_dict())
    name = "base_model.model.model.layers.0.mlp.up_proj"
    change = state[f"{name}.lora_B.default.weight"] @ state[f"{name}.lora_A.default.weight"] * LORA.alpha / LORA.rank
    merged = state[f"{name}.base_layer.weight"] + change
    written = load_file(exported(case, state, tmp_path / "out") / "model.safetensors")
    found = written["model.layers.0.mlp.up_proj.weight"]
    if stored == "bf16":
        assert torch.equal(found, merged.to(torch.bfloat16))
        in_half = state[f"{name}.base_layer.weight"].to(torch.bfloat16) + change.to(torch.bfloat16)
        assert not torch.equal(found, in_half), "a merge in bf16 would have been the same, and this proves nothing"
    else:
        torch.testing.assert_close(found, merged, rtol=1e-6, atol=1e-7)


def test_frozen_weights_that_an_engine_rounded_go_out_as_they_are_in_their_files(adapted, tmp_path):
    case, model = adapted
    state = dict(model.state_dict())
    rounded = {name: one if "lora" in name else one.to(torch.bfloat16) for name, one in state.items()}
    folder = exported(case, rounded, tmp_path / "out")
    before = load_file(tmp_path / "existing" / "model.safetensors")
    written = load_file(folder / "model.safetensors")
    assert torch.equal(written["model.embed_tokens.weight"], before["model.embed_tokens.weight"])
    whole = load_file(exported(case, state, tmp_path / "whole") / "model.safetensors")
    assert all(torch.equal(written[name], whole[name]) for name in whole)


def test_frozen_weights_that_are_not_those_of_the_files_go_out_as_they_are_held(adapted, tmp_path):
    case, model = adapted
    state = {name: one if "lora" in name else one.to(torch.bfloat16) for name, one in model.state_dict().items()}
    name = "base_model.model.model.embed_tokens.weight"
    state[name] = state[name] + 1
    written = load_file(exported(case, state, tmp_path / "out") / "model.safetensors")
    assert torch.equal(written["model.embed_tokens.weight"], state[name].float())


def test_adapters_alone_are_peft_s_own_files_and_fit_the_model_they_name(adapted, tmp_path):
    case, model = adapted
    folder = tmp_path / "adapter"
    folder.mkdir()
    case.task.exports.export_adapters(dict(model.state_dict()), folder)
    said = json.loads((folder / "adapter_config.json").read_text())
    assert (said["peft_type"], said["r"], said["inference_mode"]) == ("LORA", 4, True)
    assert said["base_model_name_or_path"] == str(tmp_path / "existing")
    weights = load_file(folder / "adapter_model.safetensors")
    assert weights
    assert all("lora_" in name and "default" not in name for name in weights)
    base = AutoModelForCausalLM.from_pretrained(said["base_model_name_or_path"])
    batch = batch_of(case, np.arange(6))
    with torch.no_grad():
        plain = base(**batch).logits
        opened = PeftModel.from_pretrained(base, str(folder)).eval()
        torch.testing.assert_close(opened(**batch).logits, model(**batch).logits, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(plain, model(**batch).logits, atol=1e-3)
    assert AutoTokenizer.from_pretrained(folder).vocab_size == case.facts.vocab_size


def test_a_classifier_s_new_head_goes_out_with_its_adapters(tmp_path):
    case = classifying_with_adapters(tmp_path, "text_classification")
    model, _ = model_of(case, steps=6)
    folder = tmp_path / "adapter"
    folder.mkdir()
    case.task.exports.export_adapters(dict(model.state_dict()), folder)
    batch = {name: one for name, one in batch_of(case, np.arange(6)).items() if name != "labels"}
    opened = case.task.exports.open_adapters(folder, torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(opened(**batch).logits, model(**batch).logits, rtol=1e-4, atol=1e-5)


def test_random_weights_that_no_adapter_holds_are_refused_before_the_first_step(tmp_path):
    case = asking(classifying_with_adapters(tmp_path, "masked_lm"), adapters="only")
    with pytest.raises(PlatformError, match=r"export.adapters: bert.pooler.dense.bias .* say merged"):
        case.task.make_model()


def classifying_with_adapters(folder, task):
    """Labels for texts, by adapters of an existing model of some task; the files of a masked one have no pooler."""
    first = CASES[task](folder / "first")
    there = exported(first, dict(model_of(first)[0].state_dict()), folder / "existing")
    case = CASES["text_classification"](folder / "tokenizer")
    changes = {"model": Pretrained(name_or_path=str(there)), "lora": Lora(rank=4)}
    return dataclasses.replace(case, training=case.training.model_copy(update=changes))


def test_a_head_that_is_tied_stays_tied_where_adapters_are_merged(tmp_path):
    case = tuned_case(tmp_path / "tokenizer", Llama(**SHAPE, tie_embeddings=True), lora=LORA)
    folder = exported(case, dict(model_of(case, steps=4)[0].state_dict()), tmp_path / "out")
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is True
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")


def test_a_head_with_an_adapter_of_its_own_is_untied_from_the_embeddings(tmp_path):
    lora = Lora(rank=4, alpha=8, target_modules=("lm_head",))
    case = tuned_case(tmp_path / "tokenizer", Llama(**SHAPE, tie_embeddings=True), lora=lora)
    model, _ = model_of(case, steps=8)
    opened = case.open(exported(case, dict(model.state_dict()), tmp_path / "out"))
    batch = batch_of(case, np.arange(6))
    with torch.no_grad():
        torch.testing.assert_close(opened(**batch).logits, model(**batch).logits, rtol=1e-4, atol=1e-5)
    assert not torch.equal(opened.lm_head.weight, opened.model.embed_tokens.weight)


# What lies beside the weights


def test_what_lay_beside_the_weights_goes_out_as_it_was(tuned, tmp_path):
    there = tmp_path / "existing"
    beside = {
        "generation_config.json": json.dumps(GENERATION),
        "chat_template.jinja": "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}",
        "processor_config.json": json.dumps({"processor_class": "X"}),
        "special_tokens_map.json": json.dumps({"pad_token": "<|endoftext|>"}),
        "LICENSE": "Do as you like.",
    }
    for name, content in beside.items():
        (there / name).write_text(content)
    (there / "modeling_x.py").write_text("raise SystemExit")
    (there / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
    state = dict(model_of(tuned, steps=2)[0].state_dict())
    folder = exported(tuned, state, tmp_path / "out")
    assert {name: (folder / name).read_text() for name in beside} == beside
    assert not {"modeling_x.py", "pytorch_model.bin"} & {path.name for path in folder.iterdir()}
    texts = [row["text"] for row in tuned.raw]
    ids = AutoTokenizer.from_pretrained(folder)(texts)["input_ids"]
    assert ids == [one.tolist() for one in tuned.facts.encoder.texts(texts)]
    opened = AutoModelForCausalLM.from_pretrained(folder)
    assert (opened.generation_config.eos_token_id, opened.generation_config.top_p) == ([0, 5, 7], 0.95)


def test_the_tokenizer_of_the_data_wins_over_the_files_of_the_model(tuned, tmp_path):
    (tuned.facts.tokenizer / "chat_template.jinja").write_text("of the data")
    (tmp_path / "existing" / "chat_template.jinja").write_text("of the model")
    folder = exported(tuned, dict(model_of(tuned)[0].state_dict()), tmp_path / "out")
    assert (folder / "chat_template.jinja").read_text() == "of the data"


def test_files_that_are_gone_when_a_training_ends_were_read_when_it_began(tuned, tmp_path):
    place = tmp_path / "existing" / "generation_config.json"
    place.write_text(json.dumps(GENERATION))
    halved(tmp_path / "existing")
    place.write_text(json.dumps(GENERATION))
    task = build(tuned.training, tuned.facts)
    state = dict(task.make_model().state_dict())
    (tmp_path / "existing").rename(tmp_path / "moved")
    (tmp_path / "out").mkdir()
    task.export(state, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text()) == GENERATION
    assert types_of(tmp_path / "out") == {torch.bfloat16}


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"size": {"height": 8, "width": 8}, "resample": 3}, True),
        ({"size": {"shortest_edge": 10}, "crop_size": {"height": 8, "width": 8}, "do_center_crop": True}, True),
        ({"size": 8}, True),
        ({"size": {"height": 32, "width": 32}, "resample": 3}, False),
    ],
)
def test_a_processor_s_other_settings_go_out_and_only_another_size_changes_it(said, kept, tmp_path):
    case = image_case(tmp_path)
    first = exported(case, dict(model_of(case)[0].state_dict()), tmp_path / "existing")
    source = {"image_processor_type": "ViTImageProcessor", "image_mean": [0.4], "image_std": [0.2], **said}
    (first / "preprocessor_config.json").write_text(json.dumps(source))
    model = Pretrained(name_or_path=str(first))
    again = dataclasses.replace(case, training=case.training.model_copy(update={"model": model}))
    folder = exported(again, dict(model_of(again)[0].state_dict()), tmp_path / "out")
    written = json.loads((folder / "preprocessor_config.json").read_text())
    size = {} if kept else {"size": {"height": 8, "width": 8}, "do_resize": True}
    assert written == {**source, **size}
