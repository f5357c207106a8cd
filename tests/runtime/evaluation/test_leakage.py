"""Runs of tokens that are in the evaluated samples and in the training set."""

import tracemalloc

import numpy as np
import pytest

from trainshed.runtime.evaluation.leakage import overlap, runs_of


def ids(*numbers):
    return np.array(numbers)


def found(evaluated, training, *, ngram=3, held_runs=1000):
    return overlap([evaluated], lambda: [training], ngram=ngram, held_runs=held_runs)


def test_a_run_that_is_in_both_makes_its_sample_overlap_and_no_other():
    seen = found([ids(1, 2, 3, 4), ids(5, 6, 7, 8)], [ids(9, 2, 3, 4, 9)])
    assert (seen.samples, seen.overlapping, seen.share) == (2, 1, 0.5)
    assert (seen.runs, seen.overlapping_runs) == (4, 1)


@pytest.mark.parametrize(
    "training",
    [
        ids(1, 2),  # shorter than a run
        ids(3, 2, 1),  # the same tokens in another order
        ids(1, 2, 9, 3, 4),  # a run with another token inside
        ids(2, 3, 4 + (1 << 32)),  # another id of the same low bits
    ],
)
def test_what_is_no_run_of_the_sample_is_no_overlap(training):
    assert found([ids(1, 2, 3), ids(2, 3, 4)], [training]).overlapping == 0


def test_a_sample_shorter_than_a_run_overlaps_where_it_stands_as_a_whole_sample():
    assert found([ids(1, 2)], [ids(1, 2)]).overlapping == 1
    assert found([ids(1, 2)], [ids(1, 2, 3)]).overlapping == 0
    assert found([ids(1, 2), ids()], [ids(1, 3), ids()]).overlapping == 0


def test_runs_do_not_join_two_samples():
    assert found([ids(1, 2, 3)], [ids(0, 1), ids(2, 3)]).overlapping == 0


def test_parts_of_the_evaluated_samples_come_to_the_same():
    random = np.random.default_rng(0)
    evaluated = [random.integers(0, 6, size=random.integers(0, 30)) for _ in range(50)]
    training = [random.integers(0, 6, size=40) for _ in range(20)]
    whole = overlap([evaluated], lambda: [training], ngram=4)
    parts = overlap([evaluated[:20], evaluated[20:]], lambda: [training[:7], training[7:]], ngram=4, held_runs=20)
    assert whole == parts
    known = {tuple(own[start : start + 4]) for own in training for start in range(len(own) - 3)}
    runs = [{tuple(own[start : start + 4]) for start in range(len(own) - 3)} for own in evaluated]
    assert whole.overlapping == sum(bool(own & known) for own in runs if own)


def test_hashes_of_many_runs_are_all_different():
    numbers = np.arange(300_000) % 50_000
    assert len(np.unique(runs_of(numbers, 13))) == 50_000
    assert len(np.unique(runs_of(np.arange(300_000), 2))) == 299_999


def test_memory_does_not_grow_with_the_training_set():
    random = np.random.default_rng(0)
    evaluated = [random.integers(0, 1000, size=100) for _ in range(50)]

    def peak(parts):
        def training():
            for _ in range(parts):
                yield [random.integers(0, 1000, size=20_000)]

        tracemalloc.start()
        overlap([evaluated], training, ngram=13)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    assert peak(40) < 1.5 * peak(4)
