"""Events as lines: written, found again in a driver's log, and which lines are none."""

import json
import typing

import pytest

from trainshed.record.events import Known, Line, Log, Other, RolledBack, TrialMoved, decode, encode, event_of, facts_of

SAID = [
    {"event": "begin", "kind": "train", "name": "a", "again": True},
    {"event": "log", "message": "ä@@platform"},
    {"event": "progress", "stage": "train", "done": 3, "total": 4, "train_loss": 1.5},
    {"event": "trial", "trial": "trial-00000", "state": "ended", "settings": {"a": None}, "step": 4, "accuracy": 0.5},
    {"event": "checkpoint", "step": 4, "seconds": 0.1},
    {"event": "checkpoint_failed", "step": 4, "cause": "disk full"},
    {"event": "checkpoint_refused", "step": 4, "cause": "damaged"},
    {"event": "resumed", "step": 4, "checkpoint": "runs/a/checkpoints/step-4"},
    {"event": "memory", "predicted_bytes": 4, "measured_bytes": 5, "ratio": 1.25},
    {"event": "stopped_early", "step": 4, "best": 1.5},
    {"event": "exports_best", "step": 3, "last_step": 4},
    {"event": "rolled_back", "verdict": "spike", "step": 4, "loss": "nan", "back_to": 2, "samples": [1, 2]},
    {"event": "end", "state": "failed", "cause": None},
    {"event": "of a later version", "says": 1},
]


@pytest.mark.parametrize("said", SAID, ids=lambda said: said["event"])
def test_what_an_event_says_comes_back_as_its_class_and_nothing_is_added(said):
    event = event_of({**said, "more": 7})
    assert json.loads(json.dumps(facts_of(event))) == {**said, "more": 7}
    assert isinstance(event, Other) == (said["event"] == "of a later version")
    line = Line(1, "2026-11-27", "run", event)
    assert list(decode(f'Loading...\n{encode(line)}\n\n{{"seq": 9}}\n')) == [line]


def test_every_class_of_events_is_tried():
    assert {kind.model_fields["event"].default for kind in typing.get_args(Known)} == {
        one["event"] for one in SAID[:-1]
    }


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"event": "log"}, "no message"),
        ({"event": "rolled_back", "step": "many"}, "no number"),
        ({"event": "trial", "trial": 7}, "no name"),
    ],
)
def test_an_event_that_lacks_what_it_must_say_is_none_that_anybody_acts_on(said, why):
    event = event_of(said)
    assert isinstance(event, Other), why
    assert not isinstance(event, Log | RolledBack | TrialMoved)


@pytest.mark.parametrize(
    "line",
    [
        "@@platform ",
        '@@platform {"seq": 1, "ev',
        "@@platform [1]",
        '@@platform {"seq": "1"}',
        '@@platform {"seq": true}',
        '@@platform {"seq": 1, "run": ["x"]}',
        '@@platform {"event": "a"}',
        '@@platform {"seq": 1, "event": {"a": 1}}',
        '@@platfor {"seq": 1}',
    ],
)
def test_a_line_cut_short_or_without_a_number_is_no_event(line: str) -> None:
    assert list(decode(line + "\n")) == []


@pytest.mark.parametrize("before", ["\r 50%|#####     | 1/2", "\r", "quoted: @@platform {broken "])
def test_an_event_is_found_behind_an_unfinished_line_of_another_writer(before: str) -> None:
    assert [line.seq for line in decode(before + '@@platform {"seq": 3}')] == [3]
