"""Incremental detokenization: whole characters only, and nothing of a stop string.

Knows tokens as numbers and a function that decodes them; knows no tokenizer, engine or HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]

_BROKEN = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """The text of one growing answer, released as soon as no later token can change it.

    Tokens are decoded together with the few before them, because some tokenizers join words by looking back
    (the method of vLLM's incremental detokenizer). A byte-level token may end inside a character: then nothing
    of it is released until the character is complete.
    """

    def __init__(self, decode: Decode, stops: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stops = tuple(stops)
        self._tokens: list[int] = []
        self._context = 0
        self._decoded = 0
        self._held = ""
        self.stopped = False

    def push(self, tokens: Sequence[int]) -> str:
        """Adds tokens; returns the text that became certain, ending before the first stop string."""
        self._tokens.extend(tokens)
        fresh = self._undecoded()
        if fresh.endswith(_BROKEN):
            return ""
        self._context = self._decoded
        self._decoded = len(self._tokens)
        return self._release(fresh)

    def close(self) -> str:
        """The rest, when no token will follow; a character that was never completed shows as U+FFFD."""
        rest = self._release(self._undecoded())
        held = self._held
        self._held = ""
        self._decoded = len(self._tokens)
        return rest if self.stopped else rest + held

    def _undecoded(self) -> str:
        known = self._decode(self._tokens[self._context : self._decoded])
        return self._decode(self._tokens[self._context :])[len(known) :]

    def _release(self, fresh: str) -> str:
        if self.stopped:
            return ""
        text = self._held + fresh
        ends = [place for place in (text.find(stop) for stop in self._stops) if place >= 0]
        if ends:
            self.stopped = True
            self._held = ""
            return text[: min(ends)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """How many of the last characters of `text` could be the beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
