"""Heavy imports without the garbage collector, which is as it was after them."""

import gc

import pytest

from trainshed.runtime.importing import without_collector


@pytest.fixture
def thawed():
    yield
    gc.unfreeze()
    gc.enable()


def test_the_collector_waits_and_passes_over_what_stands_then(thawed):
    before = gc.get_freeze_count()
    with without_collector():
        assert not gc.isenabled()
        made = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(made)


def test_it_comes_back_where_an_import_fails(thawed):
    with pytest.raises(ImportError), without_collector():
        raise ImportError("gone")
    assert gc.isenabled()


def test_within_another_it_waits_on(thawed):
    with without_collector():
        with without_collector():
            pass
        assert not gc.isenabled()
