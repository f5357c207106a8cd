"""YAML that surprises or attacks: plain data as its writer meant it, or one line that says why not."""

import copy

import pytest

from job_texts import PREPARE, TRAIN, TUNE
from trainshed.errors import SpecError
from trainshed.spec.document.yaml_tree import MAX_DEPTH, MAX_NODES, Document, parse
from trainshed.spec.load import load_documents

LARGEST = 2**63 - 1

READ = {
    "10": 10, "-3": -3, "+12": 12, "0": 0, "0o17": 15, "0x1f": 31, str(LARGEST): LARGEST,
    "1e-3": 0.001, ".5": 0.5, "5.": 5.0, "0.25": 0.25, "-1.5E3": -1500.0,
    "true": True, "FALSE": False, "~": None, "null": None, "": None,
    "yes": "yes", "no": "no", "on": "on", "2001-01-01": "2001-01-01", "=": "=",
    "1.2.3": "1.2.3", "a:b": "a:b", "v1_2": "v1_2",
    "'010'": "010", '"1:30"': "1:30", "'2_000'": "2_000",
}  # fmt: skip

REFUSED = {
    "010": "010 has a leading zero",
    "-010": "-010 has a leading zero",
    "08": "08 has a leading zero",
    "1:30": "1:30 counts in sixties",
    "190:20:30.15": "190:20:30.15 counts in sixties",
    "2_000": "2_000 has `_` in it",
    "1_000.5": "1_000.5 has `_` in it",
    "0x_ff": "0x_ff has `_` in it",
    "0b11": "0b11 is binary",
    "-0x1f": "-0x1f is hexadecimal with a sign",
    str(LARGEST + 1): f"{LARGEST + 1} is over {LARGEST:,}, the largest whole number",
    "1" * 6000: "... is over",
    "0x" + "f" * 6000: "... is over",
    "!!int abc": "cannot read 'abc' as int",
    "!!binary aGk=": "the tag 'tag:yaml.org,2002:binary' is not allowed",
}


@pytest.mark.parametrize("scalar", READ)
def test_a_scalar_is_what_yaml_1_2_says(scalar):
    value = parse(f"a: {scalar}", "job.yaml")[0].data["a"]
    assert (value, type(value)) == (READ[scalar], type(READ[scalar]))


@pytest.mark.parametrize("scalar", REFUSED, ids=lambda scalar: scalar[:20])
def test_a_number_that_two_versions_of_yaml_read_differently_is_refused_by_name(scalar):
    with pytest.raises(SpecError) as caught:
        parse(f"k: 1\na: {scalar}", "job.yaml")
    (fault,) = caught.value.faults
    assert (fault.line, fault.key) == (2, "a")
    assert REFUSED[scalar] in fault.message
    assert len(fault.message) < 200


ATTACKS = {
    "flow nesting": "a: " + "[" * 2000 + "]" * 2000,
    "block nesting": "- " * 3000 + "x",
    "mappings in one another": "a: " + "{b: " * 2000 + "1" + "}" * 2000,
    "more values than a document needs": "[" + "1, " * (2 * MAX_NODES + 1) + "1]",
    "a list that holds itself": "&a [*a]",
    "a mapping that holds itself": "a: &a {b: *a}",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_would_fill_the_stack_or_the_memory_is_one_line(attack):
    with pytest.raises(SpecError, match=f"at most {MAX_NODES:,} values and {MAX_DEPTH} levels") as caught:
        parse(ATTACKS[attack], "job.yaml")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<<: {a: 1}", "job.yaml:1: merge keys (<<) are not in YAML 1.2"),
        ("a: &x {b: 1}\nc:\n  <<: *x", "job.yaml:3: c: merge keys (<<) are not in YAML 1.2"),
        ("!!python/name:os.system kind: x", "job.yaml:1: kind: the tag"),
        ("? [a]\n: 1", "job.yaml:1: a key must be a plain word"),
    ],
)
def test_a_key_that_is_no_plain_word_is_named(content, said):
    with pytest.raises(SpecError) as caught:
        parse(content, "job.yaml")
    assert str(caught.value).startswith(said)


def paths(data, at=()):
    yield at
    if isinstance(data, list):
        data = dict(enumerate(data))
    if isinstance(data, dict):
        for key, inner in data.items():
            yield from paths(inner, (*at, key))


def put(data, path, value):
    if not path:
        return value
    data = copy.deepcopy(data)
    here = data
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    return data


ODD = [None, [], {}, [[]], "", LARGEST, True, 1.5, -1, "x", ["x"], {"a": 1}, {"kind": []}, {"kind": {}}, {"kind": None}]
OF_PYDANTIC = ("train_in_full", "train_from_best", "function-", "tagged-union", "after validation", "valid tuple")


@pytest.mark.parametrize("job", [PREPARE, TRAIN, TUNE], ids=lambda job: job["kind"])
def test_any_value_in_any_place_is_read_or_is_a_fault_of_one_line_in_our_words(job):
    refused = 0
    for path in paths(job):
        for odd in ODD:
            try:
                load_documents([Document("job.yaml", 1, put(job, path, odd))])
            except SpecError as error:
                refused += 1
                for fault in error.faults:
                    assert "\n" not in str(fault)
                    assert len(str(fault)) < 500
                    assert not any(word in str(fault) for word in OF_PYDANTIC), (path, odd, str(fault))
    assert refused > 100


KIND = "known here: evaluate, prepare, reference, serve, train, tune"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (None, f"kind: kind is empty; {KIND}"),
        ("", f"kind: kind is empty; {KIND}"),
        ([], f"kind: kind is one word, got []; {KIND}"),
        ({"a": 1}, f'kind: kind is one word, got {{"a": 1}}; {KIND}'),
        (3, f"kind: kind is one word, got 3; {KIND}"),
    ],
)
def test_a_kind_that_is_no_word_says_so(kind, said):
    with pytest.raises(SpecError) as caught:
        load_documents([Document("job.yaml", 1, {**TRAIN, "kind": kind})])
    assert str(caught.value) == f"job.yaml:1: {said}"


@pytest.mark.parametrize("kind", [None, "", [], {"kind": "cosine"}])
def test_an_inner_kind_that_is_no_word_says_so(kind):
    with pytest.raises(SpecError, match=r"schedule: kind is (empty|one word, got .*); known here: constant, cosine"):
        load_documents([Document("job.yaml", 1, {**TRAIN, "schedule": {"kind": kind}})])


@pytest.mark.parametrize("text", ["model.steps=010", "model.steps=2_000", "model.steps=1:30", "steps=[["])
def test_a_set_is_read_by_the_same_rules_and_is_named(text):
    with pytest.raises(SpecError) as caught:
        load_documents([Document("job.yaml", 1, TRAIN)], [text])
    assert str(caught.value).startswith(f"--set {text}: ")
