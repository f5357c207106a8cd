"""report.html and its pictures: what the evaluation found, and nothing that a browser would obey."""

import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from trainshed.record.evaluation import Estimate, EvaluationResult, OverlapFacts, Verdict
from trainshed.runtime.evaluation.calibration import reliability
from trainshed.runtime.evaluation.page import Answer, page
from trainshed.runtime.evaluation.pictures import calibration, confusion, roc

HOSTILE = '"><script>alert(1)</script><img src=http://host/x onerror=alert(1)>'
TAGS = {*("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "b", "div", "ul", "li")}
TAGS |= {*("table", "tr", "th", "td", "img", "code")}


class Seen(HTMLParser):
    """The tags of a page, and where they point."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.points = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.points += [value for name, value in attrs if name in ("src", "href") or name.startswith("on")]


def result(**fields):
    said = {
        "model": "chat@4",
        "model_run": "chat-1",
        "data": "set-1",
        "split": "test",
        "samples": 1200,
        "answered": 30,
        "confidence": 0.9,
        "metrics": {"accuracy": Estimate(value=0.8712, interval=(0.85, 0.89))},
    }
    return EvaluationResult(**{**said, **fields})


def made(outcome, *, pictures=(), answers=()):
    return page(outcome, name="chat-eval", run_id="chat-eval-1", written="now", pictures=pictures, answers=answers)


def test_the_page_says_figures_intervals_verdict_and_leakage():
    outcome = result(
        against="chat@2",
        metrics={"accuracy": Estimate(value=0.8712, interval=(0.85, 0.89), other=0.9, difference=(-0.05, 0.01))},
        verdict=Verdict(require={"accuracy": ">= 0.9", "against": None}, passed=False, reasons=("it is too low",)),
        overlap=OverlapFacts(
            ngram=13, training_data="set-1", samples=1200, overlapping=30, share=0.025, run_share=0.001
        ),
    )
    said = " ".join(made(outcome).split())
    for words in (
        "0.8712",
        "0.8500 to 0.8900",
        "90 % interval",
        "chat@2",
        "-0.0500 to 0.0100",
        "Failed",
        "it is too low",
    ):
        assert words in said
    assert "accuracy &gt;= 0.9)" in said
    assert "30 of 1,200 samples (2.5 %) share a run of 13 tokens" in said


def test_a_model_that_passed_is_named_with_its_version_and_alias():
    passed = Verdict(require={"accuracy": ">= 0.9"}, passed=True)
    said = " ".join(made(result(verdict=passed, registered="chat@5", promoted="chat@live")).split())
    assert "its gate (accuracy &gt;= 0.9). It became chat@5. The alias chat@live points at it.</div>" in said


def test_nothing_that_a_stranger_wrote_is_obeyed_by_a_browser():
    outcome = result(
        remarks=(HOSTILE,),
        signatures={"bleu": HOSTILE},
        verdict=Verdict(require={"accuracy": HOSTILE}, passed=False, reasons=(HOSTILE,)),
    )
    seen = Seen(made(outcome, pictures=[(HOSTILE, b"png")], answers=[Answer(HOSTILE, HOSTILE, HOSTILE)]))
    assert seen.tags <= TAGS
    assert [where for where in seen.points if not where.startswith("data:image/png;base64,")] == []


def test_long_answers_are_cut_and_the_first_ones_are_shown():
    answers = [Answer(f"prompt {number}", "x" * 5000, "y") for number in range(50)]
    said = made(result(), answers=answers)
    assert "prompt 19" in said
    assert "prompt 20" not in said
    assert len(said) < 25_000


@pytest.mark.parametrize("classes", [2, 3, 30])
@pytest.mark.filterwarnings("error")
def test_pictures_of_few_classes_and_of_many_are_pictures(classes):
    random = np.random.default_rng(0)
    truth = np.arange(200) % classes
    scores = random.dirichlet(np.ones(classes), size=200)
    labels = [f"$\\frac$ {number} <b>\x07{'long' * 20}" for number in range(classes)]
    pictures = [
        confusion(labels, truth, scores.argmax(1)),
        calibration(reliability(scores, truth[:, None])),
        roc(labels, scores, truth),
    ]
    for content in pictures:
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.format == "PNG"
            assert 300 < picture.width <= 1300


def test_there_is_no_roc_curve_where_a_class_is_missing():
    assert roc(["no", "yes"], np.array([[0.5, 0.5], [0.2, 0.8]]), np.array([1, 1])) is None
