"""What every tracker must do with a run: one run there, each step once, whoever dies meanwhile."""

import pytest

from tracked_run import FINGERPRINT, TrackedRun
from trainshed.record.tracking import read_tracked
from trainshed.runtime.trackers.__main__ import build
from trainshed.runtime.trackers.story import Story
from trainshed.spec.training.trackers import REPORT_TO, trackers

pytestmark = pytest.mark.slow


def story(reader, events=None):
    """As the process of a tracker makes it, anew after each death of a driver."""
    (settings,) = trackers(REPORT_TO.validate_python((reader.settings(),)))
    tracker = build(settings, reader.run.record)
    return Story(reader.run.record, reader.kind, tracker, (events if events is not None else []).append)


def seen(reader):
    (found,) = reader.runs().values()
    return found


def steps_of(figures):
    return [step for step, _ in figures]


def test_a_whole_training_stands_there_once_with_what_came_of_it(reader):
    run = reader.run
    run.steps(1, 40)
    run.checkpoint(40)
    run.lineage()
    run.end()
    events = []
    story(reader, events).look()
    found = seen(reader)
    assert found.figures["train_loss"] == [(step, pytest.approx(step + 0.1)) for step in range(1, 41)]
    assert found.figures["validation_loss"] == [(step, pytest.approx(2.0 / step)) for step in (10, 20, 30, 40)]
    assert "order_hash" not in found.figures
    assert found.state == "finished"
    assert str(found.params["optimizer.learning_rate"]) == "0.01"
    assert found.tags["trainshed.lineage"] == FINGERPRINT
    assert found.tags["trainshed.registered"] == "tales@3"
    assert found.tags["trainshed.state"] == "succeeded"
    assert [event.tracker for event in events] == [reader.kind]


def test_what_only_the_end_measures_is_there(reader):
    run = reader.run
    run.steps(1, 40)
    run.end()
    story(reader).look()
    found = seen(reader)
    there = dict(found.figures.get("test_loss", [])) or {40: found.tags.get("test_loss")}
    assert there == {40: pytest.approx(0.75)}


def test_steps_are_there_while_the_training_runs(reader):
    run = reader.run
    told = story(reader)
    told.look()
    run.steps(1, 15)
    run.checkpoint(10)
    told.look()
    told.leave()
    last = 15 if reader.live else 10
    assert steps_of(seen(reader).figures["train_loss"]) == list(range(1, last + 1))
    assert read_tracked(run.storage, run.record.at(), reader.kind).sent == last


def test_a_step_that_is_done_again_stands_there_once_as_it_stands_in_the_record(reader):
    """A rollback, or workers that start again from a checkpoint, while the tracker's process lives on."""
    run = reader.run
    told = story(reader)
    run.steps(1, 15)
    run.checkpoint(10)
    told.look()
    run.steps(11, 14)  # done again, and not yet so far
    told.look()
    run.steps(11, 30)
    run.checkpoint(20)
    told.look()
    run.end()
    told.look()
    expected = [(row.step, pytest.approx(row.values["train_loss"])) for row in run.record.metrics]
    assert seen(reader).figures["train_loss"] == expected


def test_drivers_that_die_three_times_leave_one_run_with_each_step_once(reader):
    """Each new driver starts a new process; what the one before had sent is asked of the tracker or of its files."""
    run = reader.run
    run.steps(1, 10)
    run.checkpoint(10)
    for first in (11, 21, 31):
        told = story(reader)
        run.steps(first, first + 7)
        told.look()
        told.leave()
        run.steps(first, first + 9)  # the next driver's workers begin at the checkpoint
        run.checkpoint(first + 9)
    run.end()
    story(reader).look()
    expected = [(row.step, pytest.approx(row.values["train_loss"])) for row in run.record.metrics]
    assert seen(reader).figures["train_loss"] == expected
    assert len(expected) == 40


def test_what_was_sent_before_the_record_could_say_so_is_not_there_twice(reader):
    """The process dies between the tracker's answer and its own note of it."""
    run = reader.run
    run.steps(1, 20)
    run.checkpoint(10)
    told = story(reader)
    told.look()
    kept = run.storage.read(run.record.at(f"trackers/{reader.kind}.json"))
    run.checkpoint(20)
    told.look()
    told.leave()
    run.storage.write(run.record.at(f"trackers/{reader.kind}.json"), kept)
    run.steps(21, 30)
    run.end()
    story(reader).look()
    assert steps_of(seen(reader).figures["train_loss"]) == list(range(1, 31))


def test_a_process_that_dies_before_it_could_note_the_run_leaves_one_run(reader):
    run = reader.run
    run.steps(1, 10)
    run.checkpoint(10)
    told = story(reader)
    told.look()
    told.leave()
    run.storage.delete(run.record.at("trackers"))
    run.end()
    story(reader).look()
    assert steps_of(seen(reader).figures["train_loss"]) == list(range(1, 11))


def test_a_failed_run_that_is_resumed_is_one_run_and_ends_as_it_ended_last(reader):
    run = reader.run
    run.steps(1, 15)
    run.checkpoint(10)
    run.end("failed", cause="out of memory")
    story(reader).look()
    failed = seen(reader)
    assert (failed.state, failed.tags["trainshed.state"]) == ("failed", "failed")
    assert steps_of(failed.figures["train_loss"]) == list(range(1, 16))
    run.record.reopen("ts-2", {**run.record.job["job"], "steps": 50})
    run.steps(11, 50)
    run.end()
    story(reader).look()
    resumed = seen(reader)
    assert resumed.state == "finished"
    assert steps_of(resumed.figures["train_loss"]) == list(range(1, 51))
    done_again = resumed.figures["train_loss"][10]
    assert done_again == (11, pytest.approx(11.2 if reader.live else 11.1)), "only what forgets shows the second doing"


def test_an_end_that_is_told_twice_changes_nothing(reader):
    run = reader.run
    run.steps(1, 10)
    run.checkpoint(10)
    run.end()
    story(reader).look()
    story(reader).look()
    found = seen(reader)
    assert steps_of(found.figures["train_loss"]) == list(range(1, 11))
    assert len(found.figures.get("test_loss", [1])) == 1


def test_a_sweep_is_a_run_above_one_run_for_each_trial(reader, tmp_path):
    run = TrackedRun(tmp_path, kind="tune", space={"optimizer.learning_rate": {"uniform": [0.1, 0.2]}})
    key = run.record.run_id
    reader.run = run
    first = run.trial(0, {"optimizer.learning_rate": 0.125}, ended={"state": "ended"})
    run.steps(1, 20, folder=first)
    second = run.trial(1, {"optimizer.learning_rate": 0.25})
    run.steps(1, 12, folder=second)
    run.checkpoint(10, folder=second)
    told = story(reader)
    told.look()
    third = run.trial(2, {"optimizer.learning_rate": 0.5}, ended={"state": "failed", "cause": "diverged"})
    run.steps(1, 3, folder=third)
    told.look()
    run.steps(11, 20, folder=second)
    run.end_trial(1, state="stopped early", by="asha")
    run.end("failed", cause="the best trial could not be registered")
    told.look()
    found = reader.runs()
    assert sorted(found) == [key, *(f"{key}-trial-{number:05d}" for number in range(3))]
    assert [found[name].state for name in sorted(found)] == ["failed", "finished", "finished", "failed"]
    assert found[key].parent is None
    for number, (rate, steps) in enumerate([(0.125, 20), (0.25, 20), (0.5, 3)]):
        trial = found[f"{key}-trial-{number:05d}"]
        assert trial.parent == key
        assert float(trial.params["optimizer.learning_rate"]) == rate
        assert steps_of(trial.figures["train_loss"]) == list(range(1, steps + 1))
    assert found[f"{key}-trial-00001"].tags["trainshed.ended_by"] == "asha"


def test_figures_that_are_no_numbers_do_not_stop_those_after_them(reader):
    run = reader.run
    run.steps(1, 3)
    text = run.storage.read(run.record.at("metrics.jsonl")).decode()
    run.storage.write(run.record.at("metrics.jsonl"), text.replace("2.1", "NaN").encode())
    run.end("failed", cause="the loss is nan")
    story(reader).look()
    assert steps_of(seen(reader).figures["train_loss"])[-1] == 3
