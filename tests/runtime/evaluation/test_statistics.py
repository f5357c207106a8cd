"""A sample that counts twice is a sample that stands there twice: the bootstrap's figures are those of the meters."""

import math

import numpy as np
import pytest
from scipy import stats

from trainshed.runtime.evaluation.bootstrap import interval, once, resampled
from trainshed.runtime.evaluation.calibration import of_calibration, reliability
from trainshed.runtime.evaluation.statistics import of_classes, of_loss, of_means, of_numbers, of_several, of_tokens
from trainshed.runtime.tasks.meters import class_figures, number_figures, several_figures
from trainshed.spec.evaluation.evaluate import Intervals


def drawn(samples, classes, *, seed=0):
    """Probabilities, some of them equal, and labels that are right more often than not."""
    random = np.random.default_rng(seed)
    scores = np.round(random.dirichlet(np.ones(classes), size=samples), 1) + 1e-3
    labels = np.where(random.random(samples) < 0.6, scores.argmax(1), random.integers(0, classes, samples))
    return scores / scores.sum(1, keepdims=True), labels[:, None].astype(float)


def weights_of(samples, *, seed=1):
    return np.random.default_rng(seed).integers(0, 4, size=samples)


def agree(statistic, figures, scores, labels, weights):
    """The figures by weights, and of samples that stand there as often."""
    found = {name: float(values[0]) for name, values in statistic(weights[None, :].astype(float)).items()}
    again = figures(np.repeat(scores, weights, axis=0), np.repeat(labels, weights, axis=0))
    assert {name: found[name] for name in again} == pytest.approx(again, abs=1e-12)
    assert [name for name in found if name not in again and not math.isnan(found[name])] == []


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("twice", [False, True])
def test_figures_of_classes_are_scikit_learns(classes, twice):
    scores, labels = drawn(80, classes)
    weights = weights_of(80) if twice else np.ones(80, dtype=int)
    agree(of_classes(scores, labels), class_figures, scores, labels, weights)


def test_a_class_that_no_resample_has_counts_for_nothing():
    scores, labels = drawn(40, 4)
    weights = np.where((labels[:, 0] == 3) | (scores.argmax(1) == 3), 0, 1)
    agree(of_classes(scores, labels), class_figures, scores, labels, weights)


@pytest.mark.parametrize("twice", [False, True])
def test_figures_of_several_labels_are_scikit_learns(twice):
    random = np.random.default_rng(2)
    scores = np.round(random.random((60, 3)), 1)
    labels = (random.random((60, 3)) < 0.4).astype(float)
    weights = weights_of(60) if twice else np.ones(60, dtype=int)
    agree(of_several(scores, labels), several_figures, scores, labels, weights)


@pytest.mark.parametrize("twice", [False, True])
def test_correlations_are_scipys_also_where_ranks_tie(twice):
    random = np.random.default_rng(3)
    truth = np.round(random.normal(size=(50, 1)), 1)
    said = np.round(truth + random.normal(size=(50, 1)), 1)
    weights = weights_of(50) if twice else np.ones(50, dtype=int)
    agree(of_numbers(said, truth), number_figures, said, truth, weights)


def test_figures_of_tokens_are_ratios_of_sums():
    sums = np.array([[2.0, 4.0, 1.0, 1.0, 0.0], [1.0, 2.0, 2.0, 1.0, 1.0]])
    found = once(of_tokens(sums, sequences=True), 2)
    expected = {"loss": 0.5, "perplexity": math.exp(0.5), "accuracy": 0.5, "sequence_accuracy": 0.5}
    assert found == pytest.approx(expected)
    assert "sequence_accuracy" not in once(of_tokens(sums, sequences=False), 2)


def test_the_loss_is_weighted_by_classes():
    assert once(of_loss(np.array([[1.0, 2.0], [3.0, 6.0]])), 2) == {"loss": 0.5}


def test_the_interval_of_a_mean_is_as_wide_as_its_standard_error_says():
    values = np.random.default_rng(4).normal(size=400)
    spec = Intervals(resamples=2000)
    low, high = interval(resampled(of_means({"mean": values}), 400, spec)["mean"], spec)
    half = stats.norm.ppf(0.975) * values.std() / math.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_intervals_of_a_95_percent_confidence_hold_the_truth_about_as_often():
    random = np.random.default_rng(5)
    spec = Intervals(resamples=400)
    held = 0
    for _ in range(200):
        right = (random.random(150) < 0.8).astype(float)
        low, high = interval(resampled(of_means({"accuracy": right}), 150, spec)["accuracy"], spec)
        held += low <= 0.8 <= high
    assert 180 <= held <= 199


def test_intervals_are_a_function_of_the_seed_whatever_is_held_at_once(monkeypatch):
    statistic = of_means({"mean": np.arange(30.0)})
    whole = resampled(statistic, 30, Intervals(resamples=100))["mean"]
    other = resampled(statistic, 30, Intervals(resamples=100, seed=1))["mean"]
    monkeypatch.setattr("trainshed.runtime.evaluation.bootstrap.DRAWN_AT_ONCE", 70)
    parts = resampled(statistic, 30, Intervals(resamples=100))["mean"]
    assert np.array_equal(whole, parts)
    assert not np.array_equal(whole, other)


def test_a_figure_that_most_resamples_lack_has_no_interval():
    spec = Intervals()
    assert interval(np.array([np.nan, np.nan, 1.0]), spec) is None
    assert interval(np.array([np.nan, 1.0, 1.0]), spec) == (1.0, 1.0)


def test_a_confidence_that_is_always_right_is_calibrated_and_one_that_never_is_is_not():
    sure = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert reliability(sure, np.array([[0.0], [0.0]])).error == 0.0
    assert reliability(sure, np.array([[1.0], [1.0]])).error == 1.0
    half = np.array([[0.8, 0.2]] * 10)
    found = reliability(half, np.array([[0.0]] * 6 + [[1.0]] * 4))
    assert found.error == pytest.approx(0.2)
    assert (found.confidence.tolist(), found.samples.tolist()) == ([pytest.approx(0.8)], [10])


def test_the_bootstraps_calibration_error_is_that_of_the_bins():
    scores, labels = drawn(90, 3)
    weights = weights_of(90)
    found = of_calibration(scores, labels)(weights[None, :].astype(float))["calibration_error"][0]
    again = reliability(np.repeat(scores, weights, axis=0), np.repeat(labels, weights, axis=0)).error
    assert found == pytest.approx(again)
