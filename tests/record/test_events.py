"""Events as lines: written, found again in a driver's log, and which lines are none."""

import json
import typing

import pytest

from trainshed.record.events import (
    Known,
    Line,
    Log,
    Other,
    RolledBack,
    TrialMoved,
    decode,
    describe,
    encode,
    event_of,
    facts_of,
)

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
    {"event": "workers_started", "workers": 2, "seconds": 7.5, "processes": [41, 42]},
    {"event": "fault", "step": 4, "cause": "a worker is gone", "again": True, "restart": 1, "limit": 3},
    {"event": "worker_killed", "who": "worker 1", "cause": "has been silent for 21 s", "outcome": "killed"},
    {"event": "room_awaited", "room": 1, "needed": 2},
    {"event": "room_found", "room": 2, "workers": 1},
    {"event": "stop_asked"},
    {"event": "metrics", "split": "validation", "figures": {"loss": 1.5}, "unigram_entropy_nats": 2.5},
    {
        "event": "judged",
        "model": "tales@1",
        "split": "test",
        "samples": 40,
        "figures": {"accuracy": [0.5, [0.4, 0.6], 0.7], "loss": [1.5, None, None]},
        "against": "tales@2",
        "overlapping": 0.25,
        "passed": False,
        "reasons": ["accuracy is 0.5, and must be >= 0.9"],
    },
    {"event": "registered", "version": "tales@1", "remark": ": trial-00003 as it stands"},
    {
        "event": "tracker_began",
        "tracker": "mlflow",
        "tracker_run": "5f3a",
        "where": "http://mlflow:5000/#/experiments/1",
    },
    {"event": "tracker_silent", "tracker": "mlflow", "cause": "connection refused"},
    {"event": "tracker_answers", "tracker": "mlflow", "seconds": 41.5},
    {"event": "tracker_left", "tracker": "wandb", "cause": "it does not answer"},
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


FAULTS = [
    ({"again": True}, "workers ended at step 4: it is gone; starting them again"),
    (
        {"again": True, "restart": 2, "limit": 3},
        "workers ended at step 4: it is gone; starting them again (restart 2 of 3 without a new step)",
    ),
    ({"again": False, "limit": 3}, "workers ended at step 4: it is gone; it was so 4 times without a new step"),
    (
        {"again": False, "hopeless": True},
        "workers ended at step 4: it is gone; starting them again would not help",
    ),
]


@pytest.mark.parametrize(("facts", "words"), FAULTS)
def test_a_fault_says_whether_workers_start_again_and_how_often_they_did(facts, words):
    assert describe(event_of({"event": "fault", "step": 4, "cause": "it is gone", **facts})) == words


@pytest.mark.parametrize("said", SAID, ids=lambda said: said["event"])
def test_every_event_has_words_or_none_on_purpose(said):
    silent = {"checkpoint", "of a later version"}
    assert (describe(event_of(said)) is None) == (said["event"] in silent)


def test_an_evaluation_is_told_with_a_line_for_each_figure():
    [judged] = [event_of(one) for one in SAID if one["event"] == "judged"]
    assert describe(judged) == (
        "tales@1 on 40 samples of the test split\n"
        "  accuracy 0.5000 (0.4000 to 0.6000), tales@2 0.7000\n"
        "  loss 1.5000\n"
        "  leakage: 25.0% of the samples share tokens with the training set\n"
        "  failed its gate: accuracy is 0.5, and must be >= 0.9"
    )
