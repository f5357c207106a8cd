"""Existing weights are the same whether a model is loaded whole or part by part, and so is all that is drawn beside."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification

from forking import run_workers
from outline_worker import read_all
from tiny_families import FAMILIES, config_of
from trainshed.errors import PlatformError
from trainshed.runtime.models import tensor_files
from trainshed.runtime.models.locate import read_config
from trainshed.runtime.tasks import weights
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.weights import TransformersModel
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.optimizers import AdamW
from trainshed.spec.training.tasks import CausalLm, ImageClassification, MaskedLm, Seq2SeqLm, TextClassification
from trainshed.spec.training.train import Training

ONE = {"steps": 1, "global_batch_size": 8}
LABELS = (AutoModelForSequenceClassification, TextClassification())
TASKS = {"AutoModelForCausalLM": CausalLm(), "AutoModelForMaskedLM": MaskedLm(), "AutoModelForSeq2SeqLM": Seq2SeqLm(),
         "AutoModelForImageClassification": ImageClassification()}  # fmt: skip


def family_of(name):
    """Its AutoModel, a task for it, and a configuration of the test's own."""
    auto = FAMILIES[name][0]
    return auto, TASKS[auto.__name__], config_of(name)


def saved(folder, auto, config, **how):
    torch.manual_seed(0)
    model = auto.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():  # no norm is one, and no bias zero
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder, **how)
    return folder


def both_ways(folder, auto, task, *, vocab_size=64, **more):
    """A model loaded whole and in parts, what each has drawn from torch since, and the parts in their order."""
    made = []
    placed = []
    for place in (None, lambda part, *, layer: placed.append((part, layer))):
        shape = Pretrained(name_or_path=str(folder), **more.get("model", {}))
        rest = {name: value for name, value in more.items() if name not in ("model", "config")}
        training = Training(task=task, model=shape, data="run://x", optimizer=AdamW(learning_rate=0.1), **ONE, **rest)
        config = read_config(shape, **more.get("config", {}))
        one = TransformersModel(auto, config, training, DataFacts(vocab_size, 16, None), labelled="config" in more)
        torch.manual_seed(5)
        model = one.make(place)
        made.append((model, one.remarks, torch.rand(3)))
    return made, placed


def assert_same(made):
    (whole, remarks, drawn), (parts, remarks_of_parts, drawn_of_parts) = made
    expected, found = whole.state_dict(), parts.state_dict()
    assert list(expected) == list(found)
    for name, tensor in expected.items():
        assert tensor.dtype == found[name].dtype, name
        assert torch.equal(tensor, found[name]), name
    buffers = dict(parts.named_buffers())
    for name, buffer in whole.named_buffers():
        assert torch.equal(buffer, buffers[name]), name
    trained = {name for name, one in whole.named_parameters() if one.requires_grad}
    assert trained == {name for name, one in parts.named_parameters() if one.requires_grad}
    shared = {name: id(one) for name, one in parts.named_parameters(remove_duplicate=False)}
    for name, one in whole.named_parameters(remove_duplicate=False):
        for other, same in whole.named_parameters(remove_duplicate=False):
            assert (one is same) == (shared[name] == shared[other]), f"{name} and {other}: one tensor or two"
    assert remarks == remarks_of_parts
    assert torch.equal(drawn, drawn_of_parts), "another number of draws"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_in_parts_is_the_one_that_is_loaded_whole(family, tmp_path):
    auto, task, config = family_of(family)
    made, placed = both_ways(saved(tmp_path, auto, config), auto, task)
    assert_same(made)
    assert sum(layer for _, layer in placed) == len([one for _, one in placed if one])
    assert sum(layer for _, layer in placed) in (2, 4), "layers are placed one by one"


def test_files_in_half_precision_and_in_pieces_are_the_same(tmp_path):
    auto, task, config = family_of("llama")
    config.dtype = torch.bfloat16
    saved(tmp_path, auto, config, max_shard_size="20KB")
    for file in tmp_path.glob("*.safetensors"):
        halved = {name: one.to(torch.bfloat16) for name, one in load_file(file).items()}
        save_file(halved, file, {"format": "pt"})
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert_same(both_ways(tmp_path, auto, task)[0])


@pytest.mark.parametrize("family", ["bert", "roberta", "llama", "gpt2"])
def test_a_new_head_begins_the_same(family, tmp_path):
    config = config_of(family)
    folder = saved(tmp_path, AutoModel, config)
    made, _ = both_ways(folder, *LABELS, config={"num_labels": 3})
    assert_same(made)
    assert "has no head for this task" in made[1][1][0]
    made, _ = both_ways(folder, *LABELS, config={"num_labels": 3}, lora=Lora(rank=2))
    assert_same(made)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_head_that_is_there_is_trained_whole_beside_adapters_from_its_own_weights(family, tmp_path):
    config = config_of(family)
    config.num_labels = 3
    folder = saved(tmp_path, AutoModelForSequenceClassification, config)
    made, _ = both_ways(folder, *LABELS, config={"num_labels": 3}, lora=Lora(rank=2))
    assert_same(made)
    assert made[1][1] == (), "nothing is said of a new head"


@pytest.mark.parametrize("family", ["llama", "llama-tied", "gpt2", "phi3", "mixtral", "opt", "gemma2"])
@pytest.mark.parametrize("modules", ["auto", "all-linear"])
def test_adapters_begin_the_same(family, modules, tmp_path):
    auto, task, config = family_of(family)
    made, placed = both_ways(saved(tmp_path, auto, config), auto, task, lora=Lora(rank=2, target_modules=modules))
    assert_same(made)
    assert placed, "it was loaded whole"


def test_adapters_of_embeddings_have_the_model_loaded_whole(tmp_path):
    auto, task, config = family_of("llama-tied")
    lora = Lora(rank=2, target_modules=("q_proj", "embed_tokens"))
    made, placed = both_ways(saved(tmp_path, auto, config), auto, task, lora=lora)
    assert_same(made)
    assert [layer for _, layer in placed] == [False], "as one part"


def test_added_tokens_and_frozen_weights_are_the_same(tmp_path):
    auto, task, config = family_of("llama")
    model = {"added_tokens": ("<a>", "<b>")}
    made, _ = both_ways(saved(tmp_path, auto, config), auto, task, vocab_size=66, model=model, freeze=("*embed*",))
    assert_same(made)
    assert made[1][0].get_input_embeddings().weight.shape[0] == 66


@pytest.mark.parametrize("family", ["llama", "llama-tied", "gpt2", "mixtral", "t5"])
def test_large_tensors_are_read_in_pieces_of_rows(family, tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_files, "PIECE_BYTES", 300)
    auto, task, config = family_of(family)
    assert_same(both_ways(saved(tmp_path, auto, config), auto, task)[0])


def test_no_part_has_memory_before_the_parts_before_it_are_placed(tmp_path):
    auto, task, config = family_of("llama")
    folder, seen = saved(tmp_path, auto, config), []

    def look(part, *, layer):
        memory = {name for name, one in model.named_parameters() if not one.is_meta}
        seen.append({name.split(".")[2] for name in memory if ".layers." in name} | ({"rest"} if not layer else set()))
        assert layer or len(seen) > config.num_hidden_layers

    training = Training(task=task, model=Pretrained(name_or_path=str(folder)), data="run://x",
                        optimizer=AdamW(learning_rate=0.1), **ONE)  # fmt: skip
    one = TransformersModel(auto, read_config(training.model), training, DataFacts(64, 16, None))
    outline, model = weights.outlined, None

    def outlined(*given, **more):
        nonlocal model
        found = outline(*given, **more)
        model = found.model
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "outlined", outlined)
        one.make(look)
    assert seen[:2] == [{"0"}, {"0", "1"}], "a layer has memory before it is its turn"


def test_workers_give_one_another_what_each_has_read_and_refuse_other_files(tmp_path):
    for rank in range(2):
        (tmp_path / "same").mkdir(exist_ok=True)
        (tmp_path / f"other-{rank}").mkdir()
        stored = {"a": torch.arange(40.0).view(10, 4), "b": torch.tensor(3), "c": torch.ones(5, dtype=torch.bfloat16)}
        save_file(stored, tmp_path / "same" / "model.safetensors")
        save_file({**stored, "c": torch.ones(5 + rank)}, tmp_path / f"other-{rank}" / "model.safetensors")
    run_workers(read_all, 2, tmp_path, tmp_path / "rendezvous", logs=tmp_path)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found["pieces"] == [5, 5], "in pieces"
        for name, tensor in stored.items():
            assert torch.equal(found[name], tensor), name
            assert found[name].dtype == tensor.dtype
        assert "worker 1 has other weights by that name than worker 0" in found["said"]
    read = [torch.load(tmp_path / f"{rank}.pt", weights_only=True)["read"] for rank in range(2)]
    assert sorted(read[0] + read[1]) == ["a", "a", "b", "c"], "each once, by one of them"
    assert all(read)


def test_of_a_weight_that_has_two_names_the_same_one_is_taken(tmp_path):
    auto, task, config = family_of("llama")
    folder = saved(tmp_path, auto, config)
    tensors = load_file(folder / "model.safetensors")
    tensors["norm.weight"] = tensors["model.norm.weight"] + 1
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert_same(both_ways(folder, auto, task)[0])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda all_of: all_of.pop("model.norm.weight"), "1 of the model's weights are missing in its files"),
        (lambda all_of: all_of.update(strange=torch.zeros(2)), "1 weights in its files have no place in the model"),
        (
            lambda all_of: all_of.update({"model.norm.weight": torch.zeros(5)}),
            r"model.norm.weight has the shape \[5\] in its files",
        ),
        (
            lambda all_of: all_of.update({"model.norm.weight": torch.zeros(32).to(torch.float8_e4m3fn)}),
            "has weights of type F8_E4M3",
        ),
    ],
)
def test_what_is_no_whole_model_is_refused_before_a_part_is_made(damage, says, tmp_path):
    auto, task, config = family_of("llama")
    folder = saved(tmp_path, auto, config)
    tensors = load_file(folder / "model.safetensors")
    damage(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    training = Training(
        task=task,
        model=Pretrained(name_or_path=str(folder)),
        data="run://x",
        optimizer=AdamW(learning_rate=0.1),
        **ONE,
    )
    one = TransformersModel(auto, read_config(training.model), training, DataFacts(64, 16, None))
    placed = []
    with pytest.raises(PlatformError, match=says):
        one.make(lambda part, *, layer: placed.append(part))
    assert not placed
