"""Streaming text: whole characters, no piece of a stop string."""

from __future__ import annotations

import random

import pytest

from trainshed.runtime.serving.engines import TextEngine
from trainshed.runtime.serving.text import TextStream

BROKEN = "\N{REPLACEMENT CHARACTER}"


def pushed(engine: TextEngine, tokens: list[int], stops: tuple[str, ...] = ()) -> tuple[list[str], TextStream]:
    """What a stream releases, token by token, and then at its close."""
    stream = TextStream(engine.decode, stops)
    released = []
    for token in tokens:
        released.append(stream.push([token]))
        if stream.stopped:
            return released, stream
    return [*released, stream.close()], stream


@pytest.mark.parametrize("text", ["plain text", "é€😀 naïve 漢字\n", "a😀", "👩‍👩‍👧 family"])
def test_a_character_is_held_back_until_its_last_byte(engine: TextEngine, text: str) -> None:
    tokens = engine.encode(text)
    released, _ = pushed(engine, tokens)
    assert "".join(released) == text
    assert not any(BROKEN in piece for piece in released)


def test_some_tokens_of_the_emoji_hold_only_a_part_of_it(engine: TextEngine) -> None:
    tokens = engine.encode("漢字")
    assert len(tokens) > 2  # else the test above would say nothing
    assert BROKEN in engine.decode(tokens[:1])


@pytest.mark.parametrize("seed", range(20))
def test_pieces_of_arbitrary_bytes_join_to_the_decoded_text(engine: TextEngine, seed: int) -> None:
    tokens = random.Random(seed).choices(range(1, 320), k=60)
    released, _ = pushed(engine, tokens)
    assert "".join(released) == engine.decode(tokens)


def test_an_incomplete_character_at_the_end_shows_as_replacement(engine: TextEngine) -> None:
    released, _ = pushed(engine, engine.encode("a漢")[:-1])
    assert released[0] == "a"
    assert "".join(released) == "a" + BROKEN


@pytest.mark.parametrize("stop", ["second", "return first", "\n\n", "n fi", "add(", "😀", ":\n"])
def test_text_ends_before_a_stop_string_that_spans_tokens(engine: TextEngine, stop: str) -> None:
    text = "def add(first, second):\n    return first + second\n\n 😀 and more"
    released, stream = pushed(engine, engine.encode(text), (stop,))
    assert stream.stopped
    assert "".join(released) == text[: text.index(stop)]


def test_the_beginning_of_a_stop_string_is_never_released_early(engine: TextEngine) -> None:
    released, _ = pushed(engine, engine.encode("one END"), ("END",))
    assert "".join(released) == "one "
    assert not any("E" in piece for piece in released)


def test_what_only_looked_like_a_stop_string_is_released(engine: TextEngine) -> None:
    released, stream = pushed(engine, engine.encode("aaab EN EN"), ("aac", "END"))
    assert not stream.stopped
    assert "".join(released) == "aaab EN EN"


def test_the_earliest_of_several_stop_strings_wins(engine: TextEngine) -> None:
    stream = TextStream(engine.decode, ("three", "two"))
    assert stream.push(engine.encode("one two three")) == "one "
    assert stream.stopped
    assert stream.push(engine.encode("more")) == ""
