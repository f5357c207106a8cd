"""Constraints of a sweep: what they say, what they refuse to be, and that a stranger's text does no harm."""

import warnings

import pytest

from job_texts import PREPARE, TUNE, changed, text
from trainshed.errors import SpecError
from trainshed.spec.load import job_from_data, load_files
from trainshed.spec.sweep.constraints import LONGEST, parse, recorded

TRAINING = {
    "model": {"kind": "gpt2", "width": 48, "heads": 4, "dropout": 0.1, "tied": True},
    "schedule": {"kind": "cosine", "floor": None},
    "optimizer": {"betas": [0.9, 0.95]},
    "steps": 10,
}


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        ("model.width % model.heads == 0", True),
        ("model.width % (model.heads + 1) == 0", False),
        ("model.width // model.heads >= 12 and model.dropout < 0.2", True),
        ("model.width / 5 == 9.6", True),
        ("2 ** model.heads == 16", True),
        ("-model.heads < -3", True),
        ("10 <= steps < 10", False),
        ("model.kind == 'gpt2' or model.width == 1", True),
        ("model.kind != 'gpt2'", False),
        ("model.heads in [1, 2, 4]", True),
        ("model.heads not in (1, 2, 4)", False),
        ("model.kind in ['llama']", False),
        ("not (model.heads > 3)", False),
        ("model.tied and model.heads == 4", True),
        ("model.tied == True", True),
        ("schedule.floor < 0.1", True),
        ("model.kv_heads == 3", True),
        ("model.width % (model.heads - 4) == 0", False),
        ("model.width ** 9999 > 1", False),
        ("10.0 ** 300 * 10.0 ** 300 > model.width", False),
        ("(-1) ** 0.5 == model.width", False),
    ],
)
def test_a_constraint_says_what_it_says(said, holds):
    assert parse(said).holds(TRAINING) is holds


HOSTILE = [
    "__import__('os').system('touch here') == 0",
    "open('/etc/passwd')",
    "().__class__.__bases__ == 1",
    "[model.width for model.width in [1]]",
    "(lambda: model.width)() == 1",
    "model.width if model.heads else 1",
    "model['width'] == 1",
    "model.width[0] == 1",
    "f'{model.width}' == 1",
    "(width := model.width) == 1",
    "model.width is 1",
    "model.width & 1",
    "model.width @ 2 == 1",
    "~model.width == 1",
    "{model.width: 1}",
    "{*model.width}",
    "model.width == None",
    "model.width == ...",
    "model.width == 1j",
    "model.width == b'1'",
    "model.width == *model.heads",
    "print(model.width)",
    "await model.width",
    "model.width; model.heads",
    "model.width = 1",
    "import os",
    "1 == 1",
    "",
    "   ",
    "model.width ==",
    "model.width\0",
    "(" * 150 + "model.width" + ")" * 20,
    "-" * 180 + "model.width == 1",
    "model.width == " + "1" * LONGEST,
]


@pytest.mark.parametrize("said", HOSTILE)
def test_what_is_no_constraint_is_refused_and_never_run(said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    warnings.simplefilter("error")  # pytest puts the filters back
    with pytest.raises(ValueError, match=r"constraint|expression|path|deeply"):
        parse(said)
    assert list(tmp_path.iterdir()) == []


def test_numbers_never_grow_without_an_end():
    said = "9 ** 300 ** model.heads ** 99 == 1"
    assert parse(said).holds(TRAINING) is False
    assert parse(f"{'9' * 90} * {'9' * 90} > model.width").holds(TRAINING) is True
    assert parse("'x' * 9 == model.kind").holds(TRAINING) is False


WRONG = {
    "no expression": (["model.width %"], "'model.width %' is no expression; say something like"),
    "a call": (["max(model.width, 1) == 1"], "'max(model.width, 1)' cannot stand in a constraint; it has numbers"),
    "an unknown path": (["model.widht == 1"], "`: unknown path model.widht; did you mean 'model.width'?"),
    "a path into Python": (["model.__class__ == 1"], "unknown path model.__class__"),
    "text and a number": (["model.kind == 1"], "`model.kind == 1`: model.kind is a text and 1 a number"),
    "an order of text": (["model.kind < 'x'"], "only numbers are smaller or larger"),
    "arithmetic of text": (["model.kind * 2 == 4"], "model.kind is a text, a number is needed there"),
    "no truth": (["model.width + 1"], "is a number, neither true nor false; compare it with something"),
    "a whole part": (["schedule == 1"], "schedule is a whole part; name one of its values, such as schedule.kind"),
    "in no list": (["model.width in model.heads"], "`in` needs a list, such as [1, 2]"),
    "no text": ([3], "expected text, got 3"),
    "too many": (["model.width > 1"] * 51, "constraints: "),
    "nothing is left": (["model.width > 10000"], "nothing in it can be a trial: "),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_constraint_is_refused_with_its_line(case, tmp_path):
    constraints, said = WRONG[case]
    file = tmp_path / "job.yaml"
    file.write_text(text(PREPARE, changed(TUNE, constraints=constraints)))
    with pytest.raises(SpecError) as caught:
        load_files([file])
    (fault,) = caught.value.faults
    assert said in str(fault)
    line = file.read_text().splitlines()[fault.line - 1]
    assert line.startswith(("constraints:", "- ", "  - ")), line


def test_a_sweeps_constraints_hold_for_the_settings_of_what_trains_its_best_again():
    best = job_from_data(TUNE).train
    document = {"kind": "train", "name": "final", "from_best": "run://sweep"}
    kept = recorded({"constraints": ["model.width * model.layers <= 100", 3, "no constraint", "steps < 20"]})
    assert kept == ("model.width * model.layers <= 100", "steps < 20")
    assert job_from_data({**document, "settings": {"model.layers": 3}}).resolve(best, kept).model.layers == 3
    assert job_from_data({**document, "steps": 99}).resolve(best, kept).steps == 99, "nothing of what was searched"
    with pytest.raises(
        SpecError, match=r"model.layers: the sweep's constraint `model.width \* model.layers <= 100` does"
    ):
        job_from_data({**document, "settings": {"model.layers": 4}}).resolve(best, kept)
