"""Existing models of other shapes than our own: decoders that classify, vision models, experts, RoBERTa, image-text."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    CLIPConfig,
    CLIPModel,
    Gemma3Config,
    RobertaConfig,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from task_cases import BERT, CASES, LABELS, SHAPE, batch_of, image_case, model_of, packed_case, text_case, training
from trainshed.errors import PlatformError
from trainshed.runtime import tasks
from trainshed.runtime.tasks.fitting import check_vocabulary, positions
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.models import Config, Gpt2, Pretrained
from trainshed.spec.training.tasks import CausalLm, ImageClassification, MaskedLm, Seq2SeqLm, TextClassification

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
EXPERTS = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "num_local_experts": 4, "num_experts_per_tok": 2,
}  # fmt: skip


def edited(folder, file="config.json", **changes):
    said = json.loads((folder / file).read_text()) | changes
    (folder / file).write_text(json.dumps({key: value for key, value in said.items() if value is not None}))
    return folder


def existing(task, folder):
    """The folder that a task's fresh model was exported to."""
    folder.mkdir()
    torch.manual_seed(0)
    task.export(task.make_model().state_dict(), folder)
    return folder


# A decoder that classifies


@pytest.fixture
def decoder(tmp_path):
    """Reviews to label with a GPT-2 whose config.json, like that of the hub's, names no pad token."""
    case = text_case(tmp_path / "t", MaskedLm(), BERT, None, labels="class")
    first = tasks.build(training(CausalLm(), Gpt2(**SHAPE)), case.facts)
    folder = edited(existing(first, tmp_path / "gpt2"), pad_token_id=None)
    assert "pad_token_id" not in json.loads((folder / "config.json").read_text())
    return dataclasses.replace(case, training=training(TextClassification(), Pretrained(name_or_path=str(folder))))


def test_a_decoder_that_classifies_pads_as_its_data_does(decoder, tmp_path):
    model, losses = model_of(decoder, steps=24)
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    whole = batch_of(decoder, np.arange(8))
    lengths = whole["attention_mask"].sum(1)
    assert lengths.min() < lengths.max(), "samples of one length would prove nothing"
    with torch.no_grad():
        together = model(input_ids=whole["input_ids"], attention_mask=whole["attention_mask"]).logits
        alone = [
            model(input_ids=whole["input_ids"][row : row + 1, :length]).logits for row, length in enumerate(lengths)
        ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    (tmp_path / "out").mkdir()
    decoder.task.export(dict(model.state_dict()), tmp_path / "out")
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert opened.config.pad_token_id == decoder.facts.pad


# A vision model's own normalisation


@pytest.fixture
def vision(tmp_path):
    """A ViT for 8 x 8 pixels in three colours, with its preprocessor_config.json; two classes were known to it."""
    config = ViTConfig(
        num_hidden_layers=1, hidden_size=32, num_attention_heads=2, intermediate_size=64, image_size=8, patch_size=2,
        num_labels=2,
    )  # fmt: skip
    torch.manual_seed(0)
    ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    return processed(
        tmp_path / "vit", image_processor_type="ViTImageProcessor", size={"height": 8, "width": 8}, **IMAGENET
    )


def processed(folder, **said):
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


def image_task(folder):
    facts = tasks.DataFacts(0, 0, None, labels=LABELS, label_counts=(2, 2, 2), image=(8, 3))
    return tasks.build(training(ImageClassification(), Pretrained(name_or_path=str(folder))), facts)


def white():
    return {"pixels": np.full((2, 3, 8, 8), 255, dtype=np.uint8), "label": np.array([0, 1])}


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (IMAGENET, [2.2489, 2.4286, 2.6400]),
        ({"feature_extractor_type": "ViTFeatureExtractor", **IMAGENET}, [2.2489, 2.4286, 2.6400]),
        ({"image_mean": [0.5, 0.5, 0.5], "image_std": 0.5}, [1.0, 1.0, 1.0]),
        ({"do_normalize": False}, [1.0, 1.0, 1.0]),
        ({"do_normalize": False, "do_rescale": False}, [255.0, 255.0, 255.0]),
        ({"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False}, [1.0, 1.0, 1.0]),
    ],
)
def test_pixels_are_read_as_the_models_processor_reads_them(said, value, vision):
    values = image_task(processed(vision, **said)).batch(white(), keys=[(0, 0), (0, 1)])["pixel_values"]
    assert values.shape == (2, 3, 8, 8)
    assert values[0, :, 0, 0].tolist() == pytest.approx(value, abs=1e-4)


def test_training_validation_answers_and_export_read_pixels_alike(vision, tmp_path):
    task = image_task(vision)
    model = task.make_model().eval()
    assert any("another number of labels" in said for said in task.remarks)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    theirs = ViTImageProcessorPil.from_pretrained(vision)
    wanted = theirs(list(pixels), return_tensors="pt", input_data_format="channels_first")["pixel_values"]
    rows = {"pixels": pixels, "label": np.zeros(4, dtype=np.int64)}
    torch.testing.assert_close(task.batch(rows, keys=[])["pixel_values"], wanted)
    with torch.no_grad():
        logits = model(pixel_values=wanted).logits
    answers = task.predict(model, [{"image": image} for image in pixels])
    assert [list(one["scores"].values()) for one in answers] == [
        pytest.approx(row, rel=1e-4) for row in logits.softmax(-1).tolist()
    ]
    meter = task.meter()
    meter.add(lambda pixel_values: model(pixel_values=pixel_values), task.batch(rows, keys=[]))
    assert meter.metrics()["loss"] == pytest.approx(float(F.cross_entropy(logits, torch.zeros(4).long())), rel=1e-4)

    (tmp_path / "out").mkdir()
    task.export(dict(model.state_dict()), tmp_path / "out")
    exported = ViTImageProcessorPil.from_pretrained(tmp_path / "out")
    again = exported(list(pixels), return_tensors="pt", input_data_format="channels_first")["pixel_values"]
    torch.testing.assert_close(again, wanted)
    torch.testing.assert_close(image_task(tmp_path / "out").batch(rows, keys=[])["pixel_values"], wanted)


@pytest.mark.parametrize(
    ("said", "side"),
    [
        ({"size": {"height": 16, "width": 16}}, 16),
        ({"size": {"shortest_edge": 16}}, 16),
        ({"size": 16}, 16),
        ({"size": {"shortest_edge": 32}, "crop_size": {"height": 16, "width": 16}, "do_center_crop": True}, 16),
        ({"size": {"height": 8, "width": 8}}, None),
        ({"size": {"shortest_edge": 32}, "crop_size": {"height": 8, "width": 8}, "do_center_crop": True}, None),
        ({"size": {"height": 8, "width": 16}}, None),
        ({"size": [16, 16]}, None),
        ({"size": "large"}, None),
    ],
)
def test_images_of_another_size_than_the_processors_are_said(vision, said, side):
    task = image_task(processed(vision, **IMAGENET, **said))
    wanted = f"{vision} was trained on images of {side} pixels on each side, the data's have 8; say `size: {side}` in"
    assert [remark.startswith(wanted) for remark in task.remarks] == ([] if side is None else [True])


def test_a_fresh_vision_model_exports_how_it_reads_pixels(tmp_path):
    case = image_case(tmp_path)
    folder = existing(case.task, tmp_path / "out")
    said = json.loads((folder / "preprocessor_config.json").read_text())
    assert (said["image_mean"], said["image_std"], said["size"]) == ([0.5], [0.5], {"height": 8, "width": 8})


def test_a_vision_model_without_a_processor_is_said_to_be_read_as_minus_1_to_1(vision):
    (vision / "preprocessor_config.json").unlink()
    task = image_task(vision)
    assert "no preprocessor_config.json: pixels 0 to 255 are read as -1 to 1" in task.remarks[0]
    assert task.batch(white(), keys=[])["pixel_values"].unique().tolist() == [1.0]


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"image_mean": "x", "image_std": [1, 1, 1]}, "image_mean"),
        ({"image_mean": [0, 0, 0], "image_std": [0, 1, 1]}, "image_std"),
        ({"image_mean": [0.5, 0.5], "image_std": [0.5, 0.5]}, "image_mean has 2 numbers, the data's images have 3"),
        ({"do_normalize": True}, "do_normalize needs image_mean and image_std"),
        ({"rescale_factor": 0, **IMAGENET}, "rescale_factor"),
        ({"include_top": True, **IMAGENET}, "include_top"),
        ([1], "holds a JSON list"),
    ],
)
def test_a_processor_that_cannot_be_meant_is_one_clear_line(said, fault, vision):
    (vision / "preprocessor_config.json").write_text(json.dumps(said))
    with pytest.raises(PlatformError, match=fault) as caught:
        image_task(vision)
    assert "preprocessor_config.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_of_another_depth_are_refused(vision, tmp_path):
    case = image_case(tmp_path)
    spec = Pretrained(name_or_path=str(vision))
    with pytest.raises(PlatformError, match=r"images of 3 channels, the data's have 1; say `channels: rgb`"):
        tasks.build(training(ImageClassification(), spec), case.facts)


# Experts


def experts(folder, kind="mixtral", **more):
    return packed_case(folder, Config(model_type=kind, settings={**EXPERTS, **more}))


def test_the_routers_loss_is_trained_on_and_not_measured(tmp_path):
    plain = experts(tmp_path / "a")
    asked = experts(tmp_path / "b", output_router_logits=True, router_aux_loss_coef=0.5)
    model, _ = model_of(asked)
    batch = batch_of(asked, np.arange(8))
    loss = asked.task.loss(model, batch, label_smoothing=0.0)
    outputs = model(**batch)
    units = asked.task.weight(batch)
    cross = F.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), batch["input_ids"][:, 1:].flatten())
    assert float(outputs.aux_loss.detach()) > 0.5
    assert float(loss.detach()) / units == pytest.approx(float((cross + 0.5 * outputs.aux_loss).detach()), rel=1e-5)
    assert float(plain.task.loss(model_of(plain)[0], batch, label_smoothing=0.0).detach()) / units == pytest.approx(
        float(cross.detach()), rel=1e-5
    )
    loss.backward()
    gates = [p for name, p in model.named_parameters() if "gate.weight" in name]
    with_it = [p.grad.clone() for p in gates]
    model.zero_grad()
    (cross * units).backward()
    assert all(not torch.allclose(a, b.grad, rtol=1e-3) for a, b in zip(with_it, gates, strict=True))
    meter = asked.task.meter()
    with torch.no_grad():
        meter.add(model, batch)
    assert meter.metrics()["loss"] == pytest.approx(float(cross.detach()), rel=1e-5)
    assert asked.task.remarks == (
        "train_loss has 0.5 x the routers' load-balancing loss in it, validation_loss has not",
    )
    assert plain.task.remarks == ()


@pytest.mark.parametrize(
    ("task", "kind", "settings", "said"),
    [
        (CausalLm(), "mixtral", {"router_aux_loss_coef": 0.1}, "used only with output_router_logits: true"),
        (CausalLm(), "mixtral", {"output_router_logits": True, "router_aux_loss_coef": -1.0}, "a number, 0 or more"),
        (CausalLm(), "deepseek_v3", {"output_router_logits": True}, "a deepseek_v3 gives no loss of its routers"),
        (TextClassification(), "mixtral", {"output_router_logits": True}, "text_classification has no use for it"),
        (Seq2SeqLm(), "switch_transformers", {"router_z_loss_coef": 0.1}, "used only with output_router_logits"),
    ],
)
def test_a_router_loss_that_would_not_be_used_is_refused(task, kind, settings, said, tmp_path):
    case = packed_case(tmp_path / "t", Gpt2(**SHAPE))
    facts = dataclasses.replace(case.facts, labels=LABELS, label_counts=(1, 1, 1))
    with pytest.raises(PlatformError, match=said):
        tasks.build(training(task, Config(model_type=kind, settings=settings)), facts)


# RoBERTa's two positions more


@pytest.mark.parametrize("pad", [0, 1, 7])
def test_a_roberta_takes_fewer_tokens_than_it_has_positions(pad):
    config = RobertaConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16, vocab_size=40,
        max_position_embeddings=20, pad_token_id=pad,
    )  # fmt: skip
    model, longest = AutoModelForCausalLM.from_config(config), positions(config)
    model(input_ids=torch.full((1, longest), 9))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, longest + 1), 9))


@pytest.mark.parametrize(("room", "fits"), [(24 + 2, True), (24 + 1, False), (24, False)])
def test_samples_that_are_too_long_for_a_roberta_are_refused(room, fits, tmp_path):
    settings = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
    shape = Config(model_type="roberta", settings={**settings, "max_position_embeddings": room, "pad_token_id": 1})
    case = text_case(tmp_path / "t", MaskedLm(), shape, None)
    if fits:
        model_of(case)
        return
    with pytest.raises(PlatformError, match=rf"it takes {room - 2} tokens \(max_position_embeddings {room}, of which"):
        tasks.build(case.training, case.facts)


# Images and text together


@pytest.mark.parametrize("task", [CausalLm(), TextClassification()])
def test_an_image_text_configuration_is_refused_for_text_in_one_line(task, tmp_path):
    case = packed_case(tmp_path / "t", Gpt2(**SHAPE))
    Gemma3Config().save_pretrained(tmp_path / "gemma3")
    facts = dataclasses.replace(case.facts, labels=LABELS, label_counts=(1, 1, 1))
    said = "a gemma3 is no model of text alone; it is made of text and vision: save the part"
    with pytest.raises(PlatformError, match=said) as caught:
        tasks.build(training(task, Pretrained(name_or_path=str(tmp_path / "gemma3"))), facts)
    assert "\n" not in str(caught.value)
    with pytest.raises(PlatformError, match="no model of text alone"):
        check_vocabulary(Pretrained(name_or_path=str(tmp_path / "x")), CLIPConfig(), facts)


@pytest.mark.parametrize(("task", "kind"), [(MaskedLm(), "llama"), (Seq2SeqLm(), "bert"), (CausalLm(), "vit")])
def test_an_architecture_without_such_a_model_is_refused_in_one_line(task, kind, tmp_path):
    case = text_case(tmp_path / "t", MaskedLm(), Config(model_type=kind), None)
    model = Config(model_type=kind)
    with pytest.raises(
        PlatformError, match=f"a {kind} cannot be trained for {task.kind}|says no decoder_start"
    ) as caught:
        tasks.build(case.training.model_copy(update={"task": task, "model": model}), case.facts)
    assert "\n" not in str(caught.value)


def test_the_vision_half_of_an_image_text_model_classifies(tmp_path):
    half = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**half, "vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2},
        vision_config={**half, "image_size": 8, "patch_size": 4}, projection_dim=16,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(tmp_path / "clip")
    processed(tmp_path / "clip", **IMAGENET)
    task = image_task(tmp_path / "clip")
    assert task.make_model()(pixel_values=task.batch(white(), keys=[])["pixel_values"]).logits.shape == (2, 3)
    assert "has no head for this task" in task.remarks[-1]
    facts = tasks.DataFacts(0, 0, None, labels=LABELS, label_counts=(2, 2, 2), image=(16, 3))
    with pytest.raises(PlatformError, match="images of 8 pixels on each side, the data's have 16"):
        tasks.build(training(ImageClassification(), Pretrained(name_or_path=str(tmp_path / "clip"))), facts)


# Heads beside adapters, and an LSTM's own file


def test_a_head_under_another_name_is_trained_whole_beside_adapters(tmp_path):
    sizes = {"d_model": 32, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "encoder_layers": 1, "decoder_layers": 1}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    model = Config(model_type="bart", settings={**sizes, **heads})
    case = text_case(tmp_path / "t", TextClassification(), model, None, labels="class", lora=Lora(rank=2))
    made = case.task.make_model()
    trained = [name for name, parameter in made.named_parameters() if parameter.requires_grad]
    assert any("classification_head" in name and "out_proj.weight" in name for name in trained)
    assert all("lora_" in name or "classification_head" in name for name in trained)


def test_an_lstm_of_which_weights_are_missing_is_not_opened(tmp_path):
    case = CASES["lstm_classifier"](tmp_path / "t")
    folder = existing(case.task, tmp_path / "out")
    weights = load_file(folder / "model.safetensors")
    save_file({name: one for name, one in weights.items() if name != "classifier.bias"}, folder / "model.safetensors")
    with pytest.raises(PlatformError, match=r"does not hold the weights .*Missing key.*classifier\.bias") as caught:
        case.open(folder)
    assert "\n" not in str(caught.value)
