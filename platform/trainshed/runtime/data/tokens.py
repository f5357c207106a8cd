"""Samples to token ids, by what they are, and what becomes of those that are too long; travels to Ray Data's workers.

Knows texts, prompts with completions, conversations and preferences; knows no files and no Ray.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from trainshed.runtime.data.spelled import TextForm
from trainshed.runtime.encoding import ConversationEncoder, Ids, Learn, TemplateRefusal, TextEncoder
from trainshed.spec.data.conversations import Conversation, Message, Preference
from trainshed.spec.data.formats import TooLong
from trainshed.spec.data.prepare import PrepareJob

Mask = np.ndarray[Any, np.dtype[Any]]
Fate = Literal["whole", "cut", "too long", "nothing to learn", "refused"]
LEFT_OUT: tuple[Fate, ...] = ("too long", "nothing to learn", "refused")


@dataclass(frozen=True)
class Tokens:
    """One sample as token ids, or why it is left out."""

    ids: Ids
    mask: Mask | None = None
    """Which of them are learnt; None: all of them."""
    types: Ids | None = None
    """Of a pair: the text that each token is of, 0 or 1."""
    target: Ids | None = None
    rejected: Tokens | None = None
    """Of a preference, whose own ids are the chosen side."""
    fate: Fate = "whole"
    why: str = ""
    as_asked: bool = True
    """See EncodedConversation."""
    found: int = 0
    """Tokens that it had before it was cut."""


class Tokeniser:
    """The tokenizer of a job with what the job says of lengths and of what is learnt."""

    def __init__(self, job: PrepareJob, form: TextForm) -> None:
        self._limit = job.context if job.pack is None or job.apart else None
        self._target_limit = job.target_context
        self._policy: TooLong = job.too_long
        self._learn: Learn = "last" if job.learn_from == "last_turn" else "all"
        self._joined = job.pack is not None
        self._serialized = form.serialized
        self._end = form.end
        self._conversations = form.conversations
        self._key = secrets.token_hex(8)

    def rows(self, piece: pa.Table) -> list[Tokens]:
        """The samples of a table, one for each row."""
        names = piece.column_names
        if "messages" in names:
            return [self._conversation(Conversation.from_json(one)) for one in piece["messages"].to_pylist()]
        if "preference" in names:
            return [self._preference(Preference.from_json(one)) for one in piece["preference"].to_pylist()]
        texts = piece["text"].to_pylist()
        if "text_pair" in names:
            return self._pairs(texts, piece["text_pair"].to_pylist())
        if "target" not in names:
            return [self._fitted(Tokens(np.array(ids, dtype=np.int64))) for ids in self._whole(texts)]
        targets = piece["target"].to_pylist()
        if self._joined:
            return self._completions(texts, targets)
        return [self._pair(ids, target) for ids, target in zip(self._whole(texts), self._targets(targets), strict=True)]

    @property
    def _texts(self) -> TextEncoder:
        encoder: TextEncoder = _kept(
            self._key, "texts", lambda: TextEncoder(self._serialized, max_tokens=self._limit, end=self._end)
        )
        return encoder

    @property
    def _chat(self) -> ConversationEncoder:
        encoder: ConversationEncoder | None = _kept(self._key, "conversations", lambda: self._conversations)
        assert encoder is not None
        return encoder

    def _whole(self, texts: Sequence[str]) -> list[list[int]]:
        return self._texts.documents(texts) if self._joined else self._texts.whole_texts(texts)

    def _targets(self, texts: Sequence[str]) -> list[Ids]:
        return self._texts.targets(texts, None)

    def _pairs(self, texts: Sequence[str], others: Sequence[str]) -> list[Tokens]:
        """Two texts in one row; of one that is too long the longer text loses tokens first."""
        whole = [Tokens(ids, types=types) for ids, types in self._texts.pairs(texts, others)]
        long = [number for number, one in enumerate(whole) if self._limit is not None and len(one.ids) > self._limit]
        if self._policy in ("drop", "refuse"):
            for number in long:
                whole[number] = replace(whole[number], fate="too long", found=len(whole[number].ids))
            return whole
        shorter = self._texts.pairs(
            [texts[number] for number in long], [others[number] for number in long], cut=self._side_of_cut
        )
        for number, (ids, types) in zip(long, shorter, strict=True):
            whole[number] = Tokens(ids, types=types, fate="cut", found=len(whole[number].ids))
        return whole

    def _pair(self, ids: list[int], target: Ids) -> Tokens:
        """A text and a target that stay two; the target may lose its end, and with it its end token."""
        made = self._fitted(Tokens(np.array(ids, dtype=np.int64)))
        if made.fate in LEFT_OUT or len(target) <= self._target_limit:
            return replace(made, target=target)
        if self._policy in ("drop", "refuse"):
            return replace(made, target=target, fate="too long", found=len(target))
        return replace(made, target=target[: self._target_limit], fate="cut")

    def _completions(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Tokens]:
        """Prompt and completion as one row, of which the completion is learnt."""
        asked = self._texts.prompts(prompts, cut=False)
        return [
            self._fitted(_masked(prompt, said)) for prompt, said in zip(asked, self._targets(completions), strict=True)
        ]

    def _conversation(self, one: Conversation) -> Tokens:
        try:
            row = self._chat.learnt(one.messages, tools=one.tools or None, learn=self._learn)
        except TemplateRefusal as error:
            return Tokens(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool), fate="refused", why=str(error))
        return self._fitted(Tokens(row.ids, row.mask, as_asked=row.as_asked))

    def _preference(self, one: Preference) -> Tokens:
        chosen, rejected = (self._side(one.prompt, side) for side in (one.chosen, one.rejected))
        worse = next((side for side in (chosen, rejected) if side.fate in LEFT_OUT), None)
        if worse is not None:
            return replace(chosen, fate=worse.fate, why=worse.why, found=worse.found, rejected=rejected)
        fate: Fate = "cut" if "cut" in (chosen.fate, rejected.fate) else "whole"
        return replace(chosen, fate=fate, rejected=rejected)

    def _side(self, prompt: Sequence[Message], said: Sequence[Message]) -> Tokens:
        """A prompt with one of its answers: through the chat template where there is one, else as texts."""
        if self._conversations is not None:
            try:
                row = self._chat.learnt([*prompt, *said], learn="last")
            except TemplateRefusal as error:
                return Tokens(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool), fate="refused", why=str(error))
            return self._fitted(Tokens(row.ids, row.mask, as_asked=row.as_asked))
        if len(prompt) != 1 or len(said) != 1:
            why = "messages, and the tokenizer has no chat template"
            return Tokens(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool), fate="refused", why=why)
        [asked] = self._texts.prompts([prompt[0]["content"]], cut=False)
        [answer] = self._targets([said[0]["content"]])
        return self._fitted(_masked(asked, answer))

    def _fitted(self, one: Tokens) -> Tokens:
        """Cut, or left out, where it is too long; and left out where nothing of it would be learnt."""
        long = self._limit is not None and len(one.ids) > self._limit
        if long and self._policy in ("drop", "refuse"):
            return replace(one, fate="too long", found=len(one.ids))
        if long:
            one = self._cut(one)
        if one.mask is not None and not one.mask.any():
            return replace(one, fate="nothing to learn")
        return one

    def _cut(self, one: Tokens) -> Tokens:
        """Without its end, or its beginning; the special tokens around a text, or a row's BOS, stay."""
        assert self._limit is not None
        found = len(one.ids)
        if one.mask is None and not self._joined:
            return replace(one, ids=self._texts.fitted(one.ids, side=self._side_of_cut), fate="cut", found=found)
        if self._policy == "cut_right":
            kept = np.arange(self._limit)
        else:
            first = len(self._texts.affixes.before)
            first = first if tuple(one.ids[:first].tolist()) == self._texts.affixes.before else 0
            kept = np.concatenate([np.arange(first), np.arange(found - self._limit + first, found)])
        mask = None if one.mask is None else one.mask[kept]
        return replace(one, ids=one.ids[kept], mask=mask, fate="cut", found=found)

    @property
    def _side_of_cut(self) -> Literal["left", "right"]:
        return "left" if self._policy == "cut_left" else "right"


def _masked(prompt: Ids, said: Ids) -> Tokens:
    mask = np.concatenate([np.zeros(len(prompt), dtype=bool), np.ones(len(said), dtype=bool)])
    return Tokens(np.concatenate([prompt, said]), mask)


_KEPT: dict[str, dict[str, Any]] = {}
"""Parsed tokenizers of the job that this process last worked for: to parse one takes a second at 150,000 tokens."""


def _kept(key: str, name: str, make: Any) -> Any:
    if key not in _KEPT:
        _KEPT.clear()
        _KEPT[key] = {}
    if name not in _KEPT[key]:
        _KEPT[key][name] = make()
    return _KEPT[key][name]
