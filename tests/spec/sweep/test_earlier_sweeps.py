"""Whether figures of an earlier sweep say anything about this one: what differs is named, what is searched may."""

import pytest

from job_texts import PREPARE, TUNE, changed
from trainshed.errors import SpecError
from trainshed.spec.document.yaml_tree import Document
from trainshed.spec.load import job_from_data, load_documents
from trainshed.spec.sweep.earlier_sweeps import unlike, unlike_data

LEARNS = {"search": {"kind": "tpe", "trials": 2, "learn_from": ["run://sweep"]}}
SPACE = {"optimizer.learning_rate": {"uniform": [0.1, 0.2]}, "model.layers": {"integer": [1, 4]}}


def job(**values):
    return job_from_data(changed(TUNE, **values))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"metric": "validation_accuracy"}, "metric is validation_loss there and validation_accuracy here"),
        ({"goal": "maximize"}, "goal is minimize there and maximize here"),
        ({"train__steps": 20}, "train.steps is 10 there and 20 here"),
        ({"folds": 2}, "folds is None there and 2 here"),
        ({"train__model__width": 64}, "model.width is 32 there and 64 here"),
        ({"train__model": {"kind": "llama", "layers": 2, "heads": 2, "width": 32}}, "model."),
        ({"train__task": {"kind": "custom", "path": "mine:Task"}}, "task.kind is causal_lm there and custom here"),
    ],
)
def test_what_makes_a_figure_another_one_is_named(values, said):
    assert (unlike(job(**values), job()) or "").startswith(said)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"train__optimizer": {"kind": "sgd", "learning_rate": 0.1}},
        {"search": {"kind": "tpe", "trials": 9}},
        {"name": "other", "train__seed": 7, "stop_early": {"kind": "asha", "grace_steps": 2}},
        {"space": SPACE, "train__model__layers": 4},
        {"goal": "minimize"},
    ],
)
def test_other_settings_and_searches_say_the_same(values):
    assert unlike(job(**values), job()) is None


def test_data_is_compared_by_what_it_is_and_not_by_its_name():
    over = {"space": {"data": {"choice": ["run://a", "run://b"]}}, "train__data": "run://a"}
    assert unlike_data(job(), {"run://text": "1"}, job(train__data="run://other"), {"run://other": "1"}) is None
    said = unlike_data(job(), {"run://text": "1"}, job(), {"run://text": "2"})
    assert said == "it was on other data, run://text, than run://text"
    gone = unlike_data(job(), {"run://text": "1"}, job(), {})
    assert gone == "the data that it was on, run://text, is not there any more"
    same, other = {"run://a": "1", "run://b": "2"}, {"run://a": "1", "run://b": "3"}
    assert unlike_data(job(**over), same, job(**over), same) is None
    assert unlike_data(job(**over), same, job(**over), other) == "it was on other data, run://b, than run://b"


def test_a_sweep_of_the_same_file_that_says_something_else_is_refused_at_its_line():
    accuracy = changed(TUNE, name="second", metric="validation_accuracy", **LEARNS)
    with pytest.raises(SpecError) as caught:
        load_documents([Document("job.yaml", 1, one) for one in (PREPARE, TUNE, accuracy)])
    (fault,) = caught.value.faults
    assert fault.key == "search.learn_from"
    assert fault.message.startswith("run://sweep: metric is validation_loss there and validation_accuracy here")
    load_documents([Document("job.yaml", 1, one) for one in (PREPARE, TUNE, changed(TUNE, name="second", **LEARNS))])
