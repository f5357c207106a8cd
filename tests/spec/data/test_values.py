"""What may stand in a field: text is text, a label is one of its kind, and everything else is said by what it is."""

import json

import numpy as np
import pytest

from trainshed.errors import PlatformError
from trainshed.runtime.data.classes import MAX_CLASSES, class_names, in_order
from trainshed.spec.data.values import BadValue, label_of, name_of, text_of


@pytest.mark.parametrize(("value", "text"), [("", ""), (" a ", " a "), ("None", "None"), ("12", "12")])
def test_what_is_text(value, text):
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("null", "null"),
        ("12", "the number 12"),
        ("true", "the boolean true"),
        ("1.5", "the number 1.5"),
        ("1e5", "the number 100000.0"),
        ("NaN", "the number nan"),
        ('[{"role": "user", "content": "hi"}]', "a list of 1"),
        ('{"role": "user"}', "an object with 'role'"),
        ("[" * 900 + "]" * 900, "a list of 1"),
        ('"a\\ud800"', r"a lone surrogate \(\\ud800\)"),
    ],
)
def test_what_is_no_text(value, said):
    with pytest.raises(BadValue, match=said):
        text_of(json.loads(value))


LABELS = {
    "class": {'"a"': "a", "1": 1, '"1"': "1", "true": True, '" 1"': " 1", "-7": -7},
    "multi": {'["a", "b"]': ["a", "b"], '"a| b|"': ["a", "b"], '""': [], "[]": [], "3": [3], "[true]": [True]},
    "number": {"1": 1.0, "-1.5": -1.5, '" 2.5e-3 "': 0.0025, '"+.5"': 0.5, "0": 0.0},
}
NO_NUMBERS = ('"nan"', '"inf"', '"1_000"', '"²"', '"１"', '"0x10"', '""', '"1,5"')
NO_LABELS = {
    "class": ["1.0", "null", '""', '" "', '["1"]', "{}", "NaN", '"\\udfff"'],
    "multi": ["null", "1.0", '[""]', "[null]", "[1.0]", '[["a"]]', "{}"],
    "number": ["NaN", "-Infinity", "1e999", "1e39", "1" + "0" * 400, "true", "null", "[1]", *NO_NUMBERS],
}


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in LABELS.items() for value in values])
def test_what_is_a_label(kind, value):
    found = label_of(json.loads(value), kind)
    assert found == LABELS[kind][value]
    assert type(found) is type(LABELS[kind][value])


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in NO_LABELS.items() for value in values])
def test_what_is_no_label(kind, value):
    with pytest.raises(BadValue):
        label_of(json.loads(value), kind)


def test_classes_are_named_as_they_are_written():
    assert [name_of(label) for label in ("a", 1, "1", True)] == ["a", "1", "1", "true"]


@pytest.mark.parametrize(
    ("names", "order"),
    [
        ({"10", "9", "-1"}, ["-1", "9", "10"]),
        ({"01", "1", "0"}, ["0", "01", "1"]),
        ({"1", "²"}, ["1", "²"]),
        ({"1", "--1"}, ["--1", "1"]),
        ({"1", "9" * 5000}, ["1", "9" * 5000]),
        ({"b", "a", "10"}, ["10", "a", "b"]),
    ],
)
def test_classes_have_one_order(names, order):
    assert in_order(names) == order
    assert in_order(sorted(names, reverse=True)) == order


def labels(*values):
    found = [{"label": json.dumps(value), "origin": f"f:{number}"} for number, value in enumerate(values, 1)]
    return [{name: np.array([row[name] for row in found], dtype=object) for name in ("label", "origin")}]


def test_names_of_classes_are_collected():
    assert class_names(labels(1, "1", "0", 2) + labels(10)) == ["0", "1", "2", "10"]
    assert class_names(labels(True, False)) == ["false", "true"]
    assert class_names(labels(["b", "a"], [], ["c"])) == ["a", "b", "c"]


def test_booleans_beside_other_labels_are_refused_with_a_place_of_each():
    said = r"labels of two kinds, a boolean \('true' at f:2\) and text or a whole number \('1' at f:1\)"
    second = {name: column[1:] for name, column in labels(0, True)[0].items()}
    for found in (labels(1, True), [*labels(1), second]):
        with pytest.raises(PlatformError, match=said):
            class_names(found)


def test_more_classes_than_anybody_means_are_refused():
    with pytest.raises(PlatformError, match=r"10001 different labels; is examples\.label_kind number meant\?"):
        class_names(labels(*range(MAX_CLASSES + 1)))
