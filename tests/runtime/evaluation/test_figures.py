"""Figures of single samples, for every task: what the workers write down comes to what the task's meter says."""

import numpy as np
import pytest
import torch

from task_cases import CASES
from trainshed.errors import PlatformError
from trainshed.record.storage import Storage
from trainshed.runtime.evaluation.bootstrap import once
from trainshed.runtime.evaluation.figures import estimates, measured, of_answers, of_task
from trainshed.runtime.evaluation.statistics import of_means
from trainshed.runtime.tasks.protocol import GivesAnswers
from trainshed.runtime.training.scoring.files import ScoreFiles
from trainshed.spec.evaluation.evaluate import Intervals, generates, reported_by
from trainshed.spec.training.tasks import CausalLm, Custom, MaskedLm, Seq2SeqLm, TextClassification

SAMPLES = 21


def batches(case, task):
    """The same ones each time: a fresh model that is its own reference has margins of 0, and rounding tips them."""
    for start in range(0, SAMPLES, 8):
        ids = np.arange(start, min(start + 8, SAMPLES))
        yield task.batch(case.samples.take(ids), keys=[(0, int(number)) for number in ids])


@pytest.mark.parametrize("name", CASES)
def test_figures_of_samples_come_to_what_the_meter_says(name, tmp_path):
    case = CASES[name](tmp_path / "tokenizer")
    task = case.task
    torch.manual_seed(0)
    model = task.make_model().eval()
    meter = task.meter()
    with torch.no_grad():
        for batch in batches(case, task):
            meter.add(model, batch)
        parts = [task.meter().each(model, batch) for batch in batches(case, task)]
    columns = {key: torch.cat([part[key] for part in parts]).float().numpy() for key in parts[0]}
    storage = Storage.open(tmp_path / "storage")
    files = ScoreFiles(storage, "runs/r")
    files.write("test", 0, columns)
    again = measured(files, "test", SAMPLES, tmp_path / "copy")
    found = once(of_task(case.training.task, again), SAMPLES)
    expected = meter.metrics()
    assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-5, abs=1e-4)
    reported = reported_by(case.training.task, answers=False)
    assert set(expected) <= set(reported)
    assert {key for key, value in found.items() if not np.isnan(value)} <= set(reported)


def test_a_figure_that_there_is_not_is_left_out_and_the_difference_is_of_the_same_draws():
    random = np.random.default_rng(0)
    spec = Intervals(resamples=400)
    own = random.normal(size=100)
    gone = np.full(100, np.nan)
    close = estimates(of_means({"a": own, "gone": gone}), 100, spec, of_means({"a": own - 0.5}))
    assert list(close) == ["a"]
    low, high = close["a"].difference
    assert (low, high) == (pytest.approx(0.5), pytest.approx(0.5))  # the interval of each alone is wide
    assert close["a"].interval[1] - close["a"].interval[0] > 0.2
    assert close["a"].other == pytest.approx(own.mean() - 0.5)


def test_answers_have_an_exact_match_and_an_f1():
    found = once(of_answers(["the cat", "a dog ran"], ["cat", "dog"]), 2)
    assert found == {"exact_match": 0.5, "answer_f1": pytest.approx((1 + 2 / 3) / 2)}


def test_what_no_metric_is_made_of_is_refused():
    with pytest.raises(PlatformError, match="its figures are odd"):
        of_task(CausalLm(), {"odd": np.ones((2, 1))})
    with pytest.raises(PlatformError, match="its own meter"):
        of_task(Custom(path="mine:Task"), {"sums": np.ones((2, 5))})


@pytest.mark.parametrize(
    ("task", "has", "packed", "answers"),
    [
        (Seq2SeqLm(), ("text", "target"), False, True),
        (CausalLm(), ("text", "target"), False, True),
        (CausalLm(), ("messages",), False, True),
        (CausalLm(), ("messages",), True, False),
        (CausalLm(), ("text",), False, False),
        (MaskedLm(), ("text",), False, False),
        (TextClassification(), ("text", "label"), False, False),
    ],
)
def test_answers_are_generated_where_a_prompt_has_one(task, has, packed, answers):
    assert generates(task, has=has, packed=packed) is answers


ANSWERING = ("causal_lm-target", "causal_lm-conversations", "seq2seq_lm-t5")


@pytest.mark.parametrize("name", ANSWERING)
def test_an_answer_does_not_depend_on_those_beside_it(name, tmp_path):
    case = CASES[name](tmp_path / "tokenizer")
    task = case.task
    assert isinstance(task, GivesAnswers)
    ids = np.arange(6)
    together = []
    for seed in range(9):  # some fresh models say special tokens alone
        torch.manual_seed(seed)
        model = task.make_model().eval()
        together = task.answers(model, case.samples.take(ids), max_new_tokens=7)
        if any(one.said for one in together):
            break
    alone = [task.answers(model, case.samples.take(ids[number : number + 1]), max_new_tokens=7)[0] for number in ids]
    assert together == alone
    assert any(one.said for one in together)


@pytest.mark.parametrize("name", ["causal_lm-target", "causal_lm-conversations"])
def test_a_decoder_is_asked_with_the_prompt_that_its_training_sees(name, tmp_path):
    """What it is asked, and what the data answers, are the sample; the answer is all that the training counts."""
    case = CASES[name](tmp_path / "tokenizer")
    task = case.task
    torch.manual_seed(0)
    model = task.make_model().eval()
    heard = []
    model.generate = lambda **given: heard.append(given["input_ids"][0].tolist()) or given["input_ids"]
    row = case.samples.take(np.arange(1))
    task.answers(model, row, max_new_tokens=1)
    batch = task.batch(row, keys=[(0, 0)])
    counted = np.flatnonzero(batch["labels"][0].numpy() != -100)
    assert heard[0] == batch["input_ids"][0, : counted[-1] + 1].tolist()[: len(heard[0])]
    assert len(heard[0]) in counted  # the first token that is generated is one that is learnt
    assert task.longest_answer(row) == counted[-1] + 1 - len(heard[0])
