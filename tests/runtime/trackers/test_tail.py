"""Reading on in a metrics.jsonl that grows, is taken back, and may be of any length."""

import json

from tracked_run import TrackedRun
from trainshed.runtime.trackers import tail as tails
from trainshed.runtime.trackers.tail import Tail


def steps(window):
    return [row.step for row in window.rows]


def tail_of(run):
    return Tail(run.storage, run.record.at("metrics.jsonl"))


def test_what_is_done_with_is_not_read_again(tmp_path):
    run = TrackedRun(tmp_path)
    tail = tail_of(run)
    assert steps(tail.read()) == []
    run.steps(1, 10)
    assert steps(tail.read()) == list(range(1, 11))
    tail.done_with(6)
    assert steps(tail.read()) == [7, 8, 9, 10]
    run.steps(11, 12)
    assert steps(tail.read()) == [7, 8, 9, 10, 11, 12]


def test_rows_that_are_done_again_behind_the_place_are_read_as_they_stand_now(tmp_path):
    run = TrackedRun(tmp_path)
    run.steps(1, 10)
    tail = tail_of(run)
    tail.read()
    tail.done_with(6)
    run.steps(7, 9)
    window = tail.read()
    assert steps(window) == [7, 8, 9]
    assert not window.anew
    assert {row.values["train_loss"] for row in window.rows} == {7.2, 8.2, 9.2}


def test_a_file_that_has_changed_before_the_place_is_read_from_its_beginning(tmp_path):
    run = TrackedRun(tmp_path)
    run.steps(1, 10)
    tail = tail_of(run)
    tail.read()
    tail.done_with(10)
    for first, last in ((4, 6), (1, 30)):
        run.steps(first, last)
        window = tail.read()
        assert (steps(window), window.anew) == (list(range(1, last + 1)), True)
        tail.done_with(last)
    assert not tail.read().anew


def test_half_a_line_and_a_damaged_one_are_left_out(tmp_path):
    run = TrackedRun(tmp_path)
    path = run.record.at("metrics.jsonl")
    lines = [json.dumps({"step": 1}), "{broken", json.dumps(["no row"]), json.dumps({"step": 2}), '{"step": 3']
    run.storage.write(path, "\n".join(lines).encode())
    tail = tail_of(run)
    assert steps(tail.read()) == [1, 2]
    tail.done_with(2)
    run.storage.write(path, ("\n".join(lines) + "}\n").encode())
    assert steps(tail.read()) == [3]


def test_a_long_file_is_read_in_windows_of_a_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(tails, "WINDOW_BYTES", 1000)
    run = TrackedRun(tmp_path)
    run.steps(1, 200)
    tail = tail_of(run)
    seen = []
    while True:
        window = tail.read()
        seen += steps(window)
        assert len(window.rows) < 20
        if not window.rows:
            break
        tail.done_with(window.rows[-1].step)
    assert seen == list(range(1, 201))
