"""Which lines of a driver's log are events."""

import pytest

from trainshed.client.follow import events_in


def test_our_lines_are_events_and_all_others_are_passed_over() -> None:
    text = (
        'Loading...\n@@platform {"seq": 1, "event": "a"}\n\n{"seq": 9}\n@@platform {"seq": 2, "text": "ä@@platform"}\n'
    )
    assert events_in(text) == [{"seq": 1, "event": "a"}, {"seq": 2, "text": "ä@@platform"}]


@pytest.mark.parametrize(
    "line",
    [
        "@@platform ",
        '@@platform {"seq": 1, "ev',
        "@@platform [1]",
        '@@platform {"seq": "1"}',
        '@@platform {"seq": true}',
        '@@platform {"event": "a"}',
        '@@platfor {"seq": 1}',
    ],
)
def test_a_line_cut_short_or_without_a_number_is_no_event(line: str) -> None:
    assert events_in(line + "\n") == []


@pytest.mark.parametrize("before", ["\r 50%|#####     | 1/2", "\r", "quoted: @@platform {broken "])
def test_an_event_is_found_behind_an_unfinished_line_of_another_writer(before: str) -> None:
    assert events_in(before + '@@platform {"seq": 3}') == [{"seq": 3}]
