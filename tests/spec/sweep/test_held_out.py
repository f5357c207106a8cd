"""Whether trainings over several data sets are compared on the same held-out samples."""

import copy

import pytest

from trainshed.record.data_form import measured_on
from trainshed.record.data_manifest import DataManifest
from trainshed.spec.sweep.held_out import difference

MANIFEST = {
    "form": "examples",
    "has": ["text", "label"],
    "tokenizer_sha256": "aa",
    "label_kind": "class",
    "labels": ["bad", "good"],
    "splits": {
        "train": {"samples": 10, "shards": [{"file": "train-00000.arrow", "sha256": "11"}]},
        "validation": {"samples": 2, "shards": [{"file": "validation-00000.arrow", "sha256": "22"}]},
    },
}


def other(**values):
    made = copy.deepcopy(MANIFEST)
    for path, value in values.items():
        *parents, last = path.split("__")
        here = made
        for parent in parents:
            here = here[int(parent) if parent.isdigit() else parent]
        here[last] = value
    return measured(made)


def measured(manifest):
    return measured_on(DataManifest.model_validate(manifest))


def test_data_sets_with_other_training_samples_and_the_same_held_out_ones_compare():
    more = other(splits__train={"samples": 20, "shards": [{"file": "train-00000.arrow", "sha256": "33"}]})
    assert difference({"run://a": other(), "run://b": more, "run://c": other()}) is None
    assert difference({"run://a": other()}) is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"splits__validation__shards__0__sha256": "44"}, "other samples are held out"),
        ({"splits__validation__shards": []}, "other samples are held out"),
        ({"tokenizer_sha256": "bb"}, "they differ in their tokenizer"),
        ({"labels": ["good", "bad"]}, "they differ in their labels"),
        ({"label_kind": "multi"}, "they differ in their kind of labels"),
        ({"form": "packed", "block_size": 16}, "they differ in their form"),
        ({"has": ["text", "target"]}, "they differ in their fields"),
        ({"image": {"size": 8, "channels": 1}}, "they differ in their size of images"),
    ],
)
def test_what_makes_a_figure_another_one_is_named(values, said):
    found = difference({"run://a": other(), "run://same": other(), "run://b": other(**values)})
    assert found is not None
    assert found.startswith("run://a and run://b do not compare")
    assert said in found
