"""TensorBoard's event files where a disk is full, and where the storage is an object store."""

import resource

import pytest

from counting_storage import counting
from tracked_run import TrackedRun
from tracker_readers import TensorBoardReader
from trainshed.record.run import Record
from trainshed.runtime.trackers.story import Story
from trainshed.runtime.trackers.tracker import Unavailable

pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'trainshed[tensorboard]'")
pytestmark = pytest.mark.slow


def story_of(record):
    from trainshed.runtime.trackers.tensorboard import TensorBoardTracker

    return Story(record, "tensorboard", TensorBoardTracker(record.storage, record.at()), [].append)


def steps_seen(run):
    (found,) = TensorBoardReader(run).runs().values()
    return [step for step, _ in found.figures["train_loss"]]


@pytest.mark.parametrize("room", [0, 1, 100, 1000])
def test_what_fitted_onto_a_full_disk_is_not_there_twice_once_there_is_room(tmp_path, room):
    """A limit on the size of files stands for the disk: a write ends in the middle, as on a full one."""
    run = TrackedRun(tmp_path)
    told = story_of(run.record)
    told.look()
    run.steps(1, 50)
    (file,) = (tmp_path / "runs" / run.record.run_id / "tensorboard").iterdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + room, before[1]))
    try:
        with pytest.raises(Unavailable):
            told.look()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told.look()
    assert steps_seen(run) == list(range(1, 51))


def test_an_object_store_gets_whole_files_of_a_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr("trainshed.runtime.trackers.tensorboard.FILE_BYTES", 4000)
    run = TrackedRun(tmp_path)
    far = Record(counting(tmp_path)[0], run.record.run_id)
    assert not far.storage.is_local
    for first in (1, 101):  # a driver and the next one
        told = story_of(far)
        for last in range(first + 9, first + 100, 10):
            run.steps(last - 9, last)
            run.checkpoint(last)
            told.look()
    sizes = [file.stat().st_size for file in (tmp_path / "runs" / run.record.run_id / "tensorboard").iterdir()]
    assert len(sizes) >= 4
    assert max(sizes) < 8000
    assert steps_seen(run) == list(range(1, 201))
