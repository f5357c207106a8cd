"""Where the assistant begins to speak in a rendered conversation. Knows how templates behave; knows no tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trainshed.runtime.encoding.template import Message, TemplateRefusal

Render = Callable[..., str]
"""`(count, prompted, changed)`: the text of the first `count` messages, see ConversationEncoder."""

SIGN = "\ue002\ue003\ue002"
"""A text that stands in no template and in no message."""


@dataclass(frozen=True)
class TurnStart:
    """Where an assistant's turn begins."""

    place: int
    """In the rendered text."""
    as_asked: bool
    """Whether the text before it is what the model is asked with for this turn."""


def turn_starts(render: Render, messages: Sequence[Message], rendered: str, turns: Sequence[int]) -> list[TurnStart]:
    """The place in `rendered` from which each of these turns is said: right behind what the model is asked with.

    Raises:
        TemplateRefusal: the template does not show it.
    """
    starts: list[TurnStart] = []
    for turn in turns:
        place = _behind_the_prompt(render, rendered, turn)
        as_asked = place is not None
        if place is None:
            place = _by_sign(render, messages[turn], rendered, turn, len(messages))
        if place is None or (starts and place <= starts[-1].place):
            raise TemplateRefusal(f"the chat template does not show where message {turn + 1}, an assistant's, begins")
        starts.append(TurnStart(place, as_asked))
    return starts


def _behind_the_prompt(render: Render, rendered: str, turn: int) -> int | None:
    prompt = _prompt(render, turn)
    return len(prompt) if prompt and rendered.startswith(prompt) else None


def _by_sign(render: Render, message: Message, rendered: str, turn: int, count: int) -> int | None:
    """For templates that show earlier messages otherwise while they are the last: a sign before what is said."""
    said = message.get("content")
    if not isinstance(said, str) or not said.strip():
        return None
    for text in (said, said.strip()):
        marked = _or_nothing(render, count, {turn: {**message, "content": f"{SIGN}{text}"}})
        if marked.count(SIGN) == 1 and marked.replace(SIGN, "") == rendered:
            return _with_blanks(rendered, marked.index(SIGN), _prompt(render, turn))
    return None


def _with_blanks(rendered: str, place: int, prompt: str) -> int:
    """Blanks before an answer are part of it, but for those that end the prompt."""
    blanks = len(rendered[:place]) - len(rendered[:place].rstrip())
    asked = prompt[len(prompt.rstrip()) :]
    return place - blanks + len(asked) if rendered[place - blanks : place].startswith(asked) else place


def _prompt(render: Render, turn: int) -> str:
    try:
        return render(turn, True)
    except TemplateRefusal:
        return ""


def _or_nothing(render: Render, count: int, changed: dict[int, Message]) -> str:
    try:
        return render(count, False, changed)
    except TemplateRefusal:
        return ""
