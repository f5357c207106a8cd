"""The global sequence of samples."""

import numpy as np
import pytest

from trainshed.runtime.training.loop.order import Order, share


def test_an_epoch_sees_every_sample_once():
    order = Order(samples=40, global_batch_size=8, seed=3)
    seen = np.concatenate([order.batch(step) for step in range(order.steps_per_epoch)])
    assert sorted(seen) == list(range(40))


def test_epochs_and_seeds_differ():
    order = Order(samples=64, global_batch_size=64, seed=3)
    assert list(order.batch(0)) != list(order.batch(1))
    assert list(order.batch(0)) != list(Order(samples=64, global_batch_size=64, seed=4).batch(0))


def test_a_step_found_at_once_is_the_step_walked_to():
    walked = Order(samples=50, global_batch_size=8, seed=1)
    for step in range(20):
        walked.batch(step)
    assert list(Order(samples=50, global_batch_size=8, seed=1).batch(20)) == list(walked.batch(20))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_sees_the_same_batch(workers):
    ids = Order(samples=100, global_batch_size=16, seed=0).batch(2)
    shares = [share(ids, worker=w, workers=workers, per_device=2) for w in range(workers)]
    assert {len(passes) for passes in shares} == {16 // (2 * workers)}
    assert sorted(np.concatenate([ids for passes in shares for ids in passes])) == sorted(ids)


def test_fewer_samples_than_a_batch_is_an_error():
    with pytest.raises(ValueError, match="global_batch_size 8 is over the 5 samples"):
        Order(samples=5, global_batch_size=8, seed=0)
