"""What does not go together is refused before anything is started, with one line that says what to change."""

import pytest

from job_texts import PREPARE, TRAIN, TUNE, changed, text
from trainshed.errors import SpecError
from trainshed.record.data_form import form_of_manifest
from trainshed.record.data_manifest import DataManifest
from trainshed.spec.fitting import form_of, misfits
from trainshed.spec.load import job_from_data, load_files

EXAMPLES = changed(PREPARE, pack=None, examples={"text": "text"})
CSV = changed(EXAMPLES, source={"kind": "csv", "path": "a.csv", "columns": ["text", "label", "more"]})
LABELLED = changed(CSV, examples={"text": "text", "label": "label"})
DIGITS = {
    "kind": "prepare",
    "name": "text",
    "source": {"kind": "builtin", "name": "digits"},
    "examples": {"image": "image", "label": "label"},
}
BERT = {"kind": "bert", "layers": 1, "heads": 2, "width": 32}
LABEL = changed(TRAIN, task={"kind": "text_classification"}, model=BERT)
VIT = changed(TRAIN, task={"kind": "image_classification"}, model=BERT | {"kind": "vit", "patch": 3})

CHAT = {"kind": "jsonl", "path": "/data/chat.jsonl"}
ANSWERS = {"text": "question", "target": "answer"}
REFUSED = {
    "pack and examples": (
        [changed(PREPARE, examples={"text": "text"})],
        "pack and examples exclude each other; say `pack:`",
    ),
    "neither": ([changed(PREPARE, pack=None)], "pack or examples is missing"),
    "text without a tokenizer": ([changed(PREPARE, tokenizer=None)], "tokenizer is missing"),
    "images with a tokenizer": (
        [changed(DIGITS, tokenizer={"kind": "characters"})],
        "tokenizer: images have no text; leave it out",
    ),
    "packed images": (
        [changed(DIGITS, examples=None, pack={"block_size": 8}, tokenizer={"kind": "characters"})],
        "pack: the source holds images",
    ),
    "a column that is not there": (
        [changed(CSV, examples={"text": "txt"})],
        "examples.text: the source has no field 'txt'; it has text, label, more",
    ),
    "an image without a label": ([changed(DIGITS, examples={"image": "image"})], "an image needs a label"),
    "nothing left to learn from": (
        [changed(PREPARE, split={"validation": 0.5, "test": 0.5})],
        "split.validation and split.test leave nothing to train on",
    ),
    "examples cut by position": ([changed(EXAMPLES, split={"by": "position"})], "split.by: only text that is packed"),
    "a model that does not fit the task": (
        [changed(TRAIN, model=BERT)],
        "model: causal_lm cannot train a bert; it trains gpt2, llama, qwen2, qwen3, config, pretrained",
    ),
    "labels wanted of blocks": (
        [PREPARE, LABEL],
        "task: text_classification needs samples with text, label; the data is packed blocks of tokens",
    ),
    "targets wanted of labels": (
        [LABELLED, changed(TRAIN, task={"kind": "seq2seq_lm"}, model=BERT | {"kind": "t5"})],
        "task: seq2seq_lm needs samples with text, target; the data is examples with text, label",
    ),
    "numbers for classes": (
        [changed(LABELLED, examples__label_kind="number"), LABEL],
        "task: text_classification needs labels of kind class; the data has examples.label_kind number",
    ),
    "a masked model without a mask": (
        [PREPARE, changed(TRAIN, task={"kind": "masked_lm"}, model=BERT)],
        "task: masked_lm needs a <|mask|> token; add `special_tokens: [mask]`",
    ),
    "a pretrained model with another tokenizer": (
        [PREPARE, changed(TRAIN, model={"kind": "pretrained", "name_or_path": "org/model"})],
        "prepare it with `tokenizer: {kind: pretrained, name_or_path: org/model}`",
    ),
    "a patch that does not divide the image": (
        [DIGITS, VIT],
        "model.patch: 3 does not divide the images' 8 pixels on each side",
    ),
    "a context that is too short": (
        [LABELLED, changed(LABEL, model=BERT | {"context": 100})],
        "model.context: 100 is under the data's examples.max_tokens, 128",
    ),
    "a context too short for a text and its answer": (
        [changed(PREPARE, pack=None, source=CHAT, examples=ANSWERS), changed(TRAIN, model__context=200)],
        "model.context: 200 is under the data's examples.max_tokens and max_target_tokens together, 256",
    ),
    "weights for other classes": (
        [DIGITS, changed(VIT, model__patch=2, task__class_weights=[1.0, 2.0])],
        "task.class_weights: 2 weights for 10 classes; give one for each, or balanced",
    ),
    "adapters in an lstm": (
        [
            changed(
                TRAIN,
                task={"kind": "lstm_classifier"},
                model={"kind": "lstm", "width": 8, "hidden": 8},
                lora={"rank": 4},
            )
        ],
        "lora: it adapts the linear layers of transformers",
    ),
    "a path that is no place of a model": (
        [changed(TRAIN, model={"kind": "pretrained", "name_or_path": "../model"})],
        "model.name_or_path: got '../model'; say an absolute directory, an s3:// address or a hub name",
    ),
    "a sweep over data that does not fit": (
        [DIGITS, TUNE],
        "train.task: causal_lm needs samples with text; the data is examples with label, image",
    ),
}


@pytest.mark.parametrize("case", list(REFUSED), ids=str)
def test_what_does_not_fit_is_refused_with_one_line(case, tmp_path):
    jobs, said = REFUSED[case]
    file = tmp_path / "job.yaml"
    file.write_text(text(*jobs))
    with pytest.raises(SpecError) as caught:
        load_files([file])
    assert len(caught.value.faults) == 1
    assert str(caught.value.faults[0]).startswith(f"{file}:")
    assert said in str(caught.value.faults[0])


def test_what_fits_loads(tmp_path):
    file = tmp_path / "job.yaml"
    for jobs in ([LABELLED, LABEL], [DIGITS, changed(VIT, model__patch=2)], [EXAMPLES, TRAIN]):
        file.write_text(text(*jobs))
        assert len(load_files([file])) == 2


def test_data_that_is_there_is_compared_like_data_that_will_be():
    manifest = {
        "form": "examples",
        "has": ["text", "label"],
        "label_kind": "class",
        "labels": ["a", "b"],
        "max_tokens": 128,
        "vocab_size": 512,
        "special_tokens": ["pad"],
        "own_tokenizer": True,
        "splits": {},
    }
    there, to_be = form_of_manifest(DataManifest.model_validate(manifest)), form_of(job_from_data(LABELLED))
    assert (there.has, there.packed, there.label_kind) == (to_be.has, to_be.packed, to_be.label_kind)
    assert (there.sizes.context, there.sizes.vocab_size) == (to_be.sizes.context, to_be.sizes.vocab_size)
    assert there.sizes.labels == 2
    training = job_from_data(changed(TRAIN, task={"kind": "masked_lm"}, model=BERT)).training
    assert [key for key, _ in misfits(training, there)] == ["task"]
