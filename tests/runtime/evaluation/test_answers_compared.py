"""Answers against those of the data: SQuAD's exact match and F1, sacrebleu's BLEU and chrF."""

import numpy as np
import pytest
import sacrebleu

from trainshed.runtime.evaluation.squad import answer_f1, exact_match
from trainshed.runtime.evaluation.translations import of_translations


@pytest.mark.parametrize(
    ("said", "truth", "exact", "f1"),
    [
        ("The Normans", "normans", 1.0, 1.0),
        ("in the 10th century.", "10th century", 0.0, 0.8),
        ("Paris", "London", 0.0, 0.0),
        ("a cat cat", "cat", 0.0, 2 / 3),
        ("", "", 1.0, 1.0),
        ("the", "", 1.0, 1.0),
        ("something", "", 0.0, 0.0),
        ("theatre", "atre", 0.0, 0.0),
    ],
)
def test_answers_are_compared_as_squad_compares_them(said, truth, exact, f1):
    assert exact_match(said, truth) == exact
    assert answer_f1(said, truth) == pytest.approx(f1)


SAID = ["the cat sat on the mat", "a dog ran away from home quickly", "hello world again my friend", "no"]
TRUTH = ["the cat sat on a mat", "the dog ran away from home", "hello world again my friends", "yes it is"]


@pytest.mark.parametrize("weights", [[1, 1, 1, 1], [2, 0, 1, 1], [0, 3, 0, 1]])
def test_scores_of_a_resample_are_sacrebleus_of_the_sentences_that_were_drawn(weights):
    found = of_translations(SAID, TRUTH)
    scores = found.statistic(np.array([weights], dtype=float))
    said = [text for text, count in zip(SAID, weights, strict=True) for _ in range(count)]
    truth = [text for text, count in zip(TRUTH, weights, strict=True) for _ in range(count)]
    assert scores["bleu"][0] == pytest.approx(sacrebleu.corpus_bleu(said, [truth]).score)
    assert scores["chrf"][0] == pytest.approx(sacrebleu.corpus_chrf(said, [truth]).score)


def test_a_score_keeps_the_signature_that_makes_it_comparable():
    signatures = of_translations(SAID, TRUTH).signatures
    assert "tok:13a" in signatures["bleu"]
    assert f"version:{sacrebleu.__version__}" in signatures["bleu"]
    assert "nc:6" in signatures["chrf"]
