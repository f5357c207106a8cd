"""Weights that are there already are loaded whole, or refused by name; a new head is the one exception, and is said."""

import json
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
)

import tiny_families
from tiny_families import SHAPE
from trainshed.errors import PlatformError
from trainshed.runtime.models.load import load_weights
from trainshed.runtime.models.locate import read_config
from trainshed.spec.training.models import Pretrained

CAUSAL, MASKED, LABELLED = AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification
CHECKED = ("llama", "llama-tied", "qwen2", "qwen3", "gpt2", "opt", "bert", "roberta", "deberta", "t5", "bart", "vit")
FAMILIES = {name: tiny_families.FAMILIES[name] for name in CHECKED}
TEXT = [name for name in FAMILIES if name != "vit"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """For each family a folder with a small model, as transformers saves it."""
    folders = {}
    for name, (auto, config) in FAMILIES.items():
        torch.manual_seed(0)
        folders[name] = tmp_path_factory.mktemp(name)
        auto.from_config(config).save_pretrained(folders[name])
    return folders


@pytest.fixture
def damaged(exported, tmp_path):
    """Copies a family's folder with its tensors changed by a function."""

    def copy(name, change=lambda tensors: None, config=None):
        folder = tmp_path / name
        shutil.copytree(exported[name], folder)
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        if config:
            said = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps(said | config))
        return folder

    return copy


def load(folder, auto, labels=None):
    spec = Pretrained(name_or_path=str(folder))
    heads = {} if labels is None else {"id2label": dict(enumerate(labels))}
    return load_weights(auto, spec, read_config(spec, **heads), labels=labels and len(labels))


def in_a_layer(weights):
    """Names of the weights of one layer, and the part of the name that says so, whatever the family calls it."""
    return [name for name in weights if ".1." in name and ("layer" in name or ".h." in name or "block" in name)]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_whole_model_is_loaded_and_nothing_is_said(name, exported):
    auto, _ = FAMILIES[name]
    loaded = load(exported[name], auto)
    assert loaded.remarks == ()
    saved = load_file(exported[name] / "model.safetensors")
    assert sum(tensor.numel() for tensor in saved.values()) >= sum(p.numel() for p in loaded.model.parameters())


@pytest.mark.parametrize("name", FAMILIES)
def test_missing_tensors_of_a_layer_are_refused_by_name(name, damaged):
    folder = damaged(name, lambda weights: [weights.pop(one) for one in in_a_layer(weights)[:9]])
    with pytest.raises(PlatformError, match=r"9 of the model's weights are missing in its files.*: .*\.1\.") as caught:
        load(folder, FAMILIES[name][0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", TEXT)
def test_missing_tensors_are_refused_where_the_head_is_new_too(name, damaged):
    folder = damaged(name, lambda weights: weights.pop(in_a_layer(weights)[0]))
    with pytest.raises(PlatformError, match="1 of the model's weights are missing"):
        load(folder, LABELLED, labels=("a", "b", "c"))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_tensor_of_another_shape_is_refused_by_name(name, damaged):
    def change(weights):
        one = next(name for name in in_a_layer(weights) if weights[name].ndim == 2)
        weights[one] = torch.zeros(3, 5)

    with pytest.raises(
        PlatformError, match=r"\.1\..* has the shape \[3, 5\] in its files, config.json says \["
    ) as caught:
        load(damaged(name, change), FAMILIES[name][0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("stranger", ["extra.weight", "of a layer"])
def test_a_tensor_that_has_no_place_is_refused_by_name(name, stranger, damaged):
    def change(weights):
        base = in_a_layer(weights)[0].partition(".1.")[0]
        weights["extra.weight" if stranger == "extra.weight" else f"{base}.1.lora_A.weight"] = torch.zeros(4)

    with pytest.raises(
        PlatformError, match=r"1 weights in its files have no place in the model: .*(extra|lora_A)\.weight"
    ):
        load(damaged(name, change), FAMILIES[name][0])


@pytest.mark.parametrize("name", TEXT)
def test_a_new_classifier_is_made_and_said(name, exported):
    loaded = load(exported[name], LABELLED, labels=("a", "b", "c"))
    (said,) = loaded.remarks
    assert "has no head for this task" in said
    assert "begin with random weights" in said
    assert any(head in said for head in ("classifier", "score", "classification_head"))


def test_half_a_head_is_a_damaged_one(exported, tmp_path):
    """The head is the job's own: what config.json says is there must be there."""
    LABELLED.from_pretrained(exported["bert"], num_labels=3).save_pretrained(tmp_path)
    assert load(tmp_path, LABELLED, labels=("a", "b", "c")).remarks == ()
    weights = load_file(tmp_path / "model.safetensors")
    for gone in (["classifier.bias"], ["classifier.bias", "classifier.weight"]):
        kept = {name: tensor for name, tensor in weights.items() if name not in gone}
        save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(PlatformError, match=r"missing in its files.*classifier\.bias"):
            load(tmp_path, LABELLED, labels=("a", "b", "c"))


def test_a_lost_language_head_is_refused(damaged):
    with pytest.raises(PlatformError, match=r"missing in its files.*lm_head\.weight"):
        load(damaged("llama", lambda weights: weights.pop("lm_head.weight")), CAUSAL)


@pytest.mark.parametrize("name", ["bert", "roberta", "vit"])
def test_a_head_for_another_number_of_labels_is_made_anew_and_said(name, exported, tmp_path):
    auto = AutoModelForImageClassification if name == "vit" else LABELLED
    auto.from_pretrained(exported[name], num_labels=5, ignore_mismatched_sizes=True).save_pretrained(tmp_path)
    loaded = load(tmp_path, auto, labels=("a", "b", "c"))
    (said,) = loaded.remarks
    assert "a head for another number of labels" in said
    assert loaded.model.config.num_labels == 3
    outputs = [module for module in loaded.model.modules() if getattr(module, "out_features", None) == 3]
    assert len(outputs) == 1
    assert float(outputs[0].weight.detach().std()) > 0


OLD = {
    "gpt2": ["transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias"],
    "llama": ["model.layers.0.self_attn.rotary_emb.inv_freq"],
    "bert": ["bert.embeddings.position_ids", "bert.pooler.dense.weight", "cls.seq_relationship.weight"],
    "roberta": ["roberta.embeddings.position_ids", "roberta.pooler.dense.bias"],
    "deberta": ["deberta.embeddings.position_ids", "mask_predictions.dense.weight", "lm_predictions.lm_head.bias"],
    "t5": ["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"],
    "bart": ["model.encoder.version", "model.decoder.version"],
    "vit": ["vit.pooler.dense.weight"],
}


@pytest.mark.parametrize("name", OLD)
def test_what_older_files_hold_besides_is_left_out(name, damaged):
    folder = damaged(name, lambda weights: weights.update({one: torch.zeros(3) for one in OLD[name]}))
    assert load(folder, FAMILIES[name][0]).remarks == ()


@pytest.mark.parametrize("name", ["gpt2", "bert", "llama"])
def test_a_base_model_without_its_prefix_is_whole(name, exported, tmp_path):
    """As the first GPT-2 and BERT on the hub are."""
    auto, _ = FAMILIES[name]
    auto.from_pretrained(exported[name]).base_model.save_pretrained(tmp_path)
    (said,) = load(tmp_path, LABELLED, labels=("a", "b")).remarks
    assert "has no head for this task" in said


def test_a_model_in_several_files_is_loaded_whole(exported, tmp_path):
    CAUSAL.from_pretrained(exported["llama"]).save_pretrained(tmp_path, max_shard_size="10KB")
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) > 2
    assert load(tmp_path, CAUSAL).remarks == ()
    files[1].unlink()
    with pytest.raises(PlatformError, match=f"{files[1].name} is not there"):
        load(tmp_path, CAUSAL)


def hostile(folder, name, content):
    (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


SMALL = {**SHAPE, "model_type": "llama"}
HOSTILE = {
    "no JSON": ("config.json", b"{", "config.json: cannot be read as JSON"),
    "a list": ("config.json", [1], "config.json: holds a JSON list"),
    "deep": ("config.json", b"[" * 100_000, "config.json: cannot be read as JSON"),
    "no type": ("config.json", {"hidden_size": 32}, "model_type"),
    "unknown type": ("config.json", {"model_type": "../../x"}, "model_type|does not recognize"),
    "huge": ("config.json", {**SMALL, "hidden_size": 10**12}, "hidden_size is '10"),
    "wide": ("config.json", {**SMALL, "intermediate_size": 10**7}, "its files hold"),
    "deep model": ("config.json", {**SMALL, "num_hidden_layers": 10**9}, "num_hidden_layers is '10"),
    "negative": ("config.json", {**SMALL, "hidden_size": -32}, "hidden_size is '-32'"),
    "text": ("config.json", {**SMALL, "hidden_size": "wide"}, "hidden_size is 'wide'"),
    "no heads": ("config.json", {**SMALL, "num_attention_heads": 0}, "_heads is '0'"),
    "outside": (
        "model.safetensors.index.json", {"metadata": {}, "weight_map": {"a": "../../x.safetensors"}},
        r"weight_map names '\.\./\.\./x\.safetensors'",
    ),
    "absolute": (
        "model.safetensors.index.json", {"metadata": {}, "weight_map": {"a": "/etc/x.safetensors"}}, "may name only"
    ),
    "no text": ("model.safetensors.index.json", {"metadata": {}, "weight_map": {"a": 1}}, "weight_map.a: "),
    "no map": ("model.safetensors.index.json", {"metadata": {}}, "weight_map: Field required"),
    "no header": ("model.safetensors", b"pickle", "no safetensors file"),
    "long header": ("model.safetensors", struct.pack("<Q", 2**60) + b"{}", "no safetensors file"),
    "bad shape": (
        "model.safetensors", struct.pack("<Q", 19) + b'{"a":{"shape":"x"}}', "tensor 'a': shape: "
    ),
    "adapters": ("adapter_config.json", {"base_model_name_or_path": "../../x"}, "merge them first"),
    "elsewhere": (
        "config.json", {**SMALL, "transformers_weights": "../../x.safetensors"},
        "transformers_weights",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_folder_ends_in_one_clear_line(fault, exported, tmp_path):
    folder = shutil.copytree(exported["llama"], tmp_path / "model")
    name, content, said = HOSTILE[fault]
    if name.endswith("index.json"):
        (folder / "model.safetensors").unlink()
    hostile(folder, name, content)
    with pytest.raises(PlatformError, match=said) as caught:
        load(folder, CAUSAL)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_code_beside_the_weights_is_never_run(exported, tmp_path):
    folder = shutil.copytree(exported["llama"], tmp_path / "model")
    (folder / "modeling_evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    config = {**SHAPE, "model_type": "evil", "auto_map": {
        "AutoConfig": "modeling_evil.Config", "AutoModelForCausalLM": "modeling_evil.Model"}}  # fmt: skip
    hostile(folder, "config.json", config)
    with pytest.raises(PlatformError):
        load(folder, CAUSAL)
    assert not (tmp_path / "ran").exists()
