"""Texts as token ids and back, the same when data is prepared, when a model is trained and when it is asked.

Knows tokenizer.json as Hugging Face writes it; knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tokenizers import Tokenizer

from trainshed.runtime.encoding.marks import Marks
from trainshed.runtime.encoding.special import TOKENIZER, SpecialIds

Ids = np.ndarray[Any, np.dtype[np.int64]]
Side = Literal["left", "right"]


@dataclass(frozen=True)
class Affixes:
    """The special tokens that a tokenizer puts around a text by itself: BOS, [CLS]; EOS, [SEP]."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    @staticmethod
    def of(tokenizer: Tokenizer) -> Affixes:
        """As its post-processor adds them to any text."""
        encoded = tokenizer.encode("a")
        added = np.array(encoded.special_tokens_mask, dtype=bool)
        inside = np.flatnonzero(~added)
        if not len(inside):
            return Affixes((), ())
        ids = encoded.ids
        return Affixes(tuple(ids[: inside[0]]), tuple(ids[inside[-1] + 1 :]))


class TextEncoder:
    """The tokenizer in a folder; a sample's text is cut at `max_tokens`, its special tokens kept."""

    def __init__(
        self,
        serialized: str,
        *,
        max_tokens: int | None,
        end: int | None,
        readable: str | None = None,
    ) -> None:
        """Reads a tokenizer.json.

        Args:
            end: closes targets and documents where the tokenizer does not enclose them by itself.
            readable: the tokenizer that decodes, where `serialized` is a twin of it.
        """
        self._serialized = serialized
        self._readable = readable or serialized
        self._max_tokens = max_tokens
        self._end = () if end is None else (end,)

    @staticmethod
    def read(folder: Path, *, max_tokens: int | None, obeyed: Iterable[str] | None = None) -> TextEncoder:
        """The tokenizer that prepared data keeps beside its shards, or that of a model.

        Texts may write the special tokens of the roles `obeyed`, such as `mask_token`; all of them where it is None.
        """
        readable = (folder / TOKENIZER).read_text()
        serialized = readable if obeyed is None else Marks.read(folder, obeyed=obeyed).text_only
        return TextEncoder(serialized, max_tokens=max_tokens, end=SpecialIds.read(folder).eos, readable=readable)

    @cached_property
    def _plain(self) -> Tokenizer:
        """The tokenizer without truncation. To parse a large one takes a second: each form only where it is wanted."""
        tokenizer = Tokenizer.from_str(self._serialized)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @cached_property
    def _reader(self) -> Tokenizer:
        return self._plain if self._readable == self._serialized else Tokenizer.from_str(self._readable)

    @property
    def vocabulary(self) -> set[str]:
        """The spelling of every token."""
        return set(self._reader.get_vocab(with_added_tokens=True))

    @cached_property
    def affixes(self) -> Affixes:
        """The special tokens around a text."""
        return Affixes.of(self._plain)

    def texts(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text as a model reads it, enclosed in special tokens where the tokenizer has a template."""
        return [self.fitted(np.array(ids, dtype=np.int64)) for ids in self.whole_texts(texts)]

    def whole_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """The same without a cut, in which no text has a BOS that it spells itself and a second one before it."""
        encoded = self._plain.encode_batch_fast(list(texts))
        return [self._once(one.ids) for one in encoded]

    def prompts(self, texts: Sequence[str], *, cut: bool = True) -> list[Ids]:
        """Ids of each text as a decoder is asked with it: begun as the tokenizer does, never closed."""
        found = self.texts(texts) if cut else [np.array(ids, dtype=np.int64) for ids in self.whole_texts(texts)]
        return [self.opened(ids) for ids in found]

    def pairs(self, texts: Sequence[str], others: Sequence[str], *, cut: Side | None = None) -> list[tuple[Ids, Ids]]:
        """Ids of two texts in one row, as the tokenizer joins them, and the text that each token is of, 0 or 1.

        With `cut` rows are cut to `max_tokens` on that side of the longer text.
        """
        tokenizer = self._plain
        if cut is not None and self._max_tokens is not None:
            tokenizer = Tokenizer.from_str(self._serialized)
            tokenizer.no_padding()
            tokenizer.enable_truncation(self._max_tokens, strategy="longest_first", direction=cut)
        encoded = tokenizer.encode_batch_fast(list(zip(texts, others, strict=True)))
        return [(np.array(one.ids, dtype=np.int64), np.array(one.type_ids, dtype=np.int64)) for one in encoded]

    def opened(self, ids: Ids) -> Ids:
        """A text's ids without the tokens that close it; what a decoder goes on from."""
        after = self.affixes.after
        closed = len(ids) > len(after) > 0 and tuple(ids[-len(after) :].tolist()) == after
        return ids[: -len(after)] if closed else ids

    def fitted(self, ids: Ids, *, side: Side = "right") -> Ids:
        """A text's ids cut to `max_tokens` on one side, the special tokens around it kept."""
        if self._max_tokens is None or len(ids) <= self._max_tokens:
            return ids
        before, after = len(self.affixes.before), len(self.affixes.after)
        room = self._max_tokens - before - after
        if room < 1:
            return ids[: self._max_tokens]
        inside = ids[before : len(ids) - after]
        kept = inside[:room] if side == "right" else inside[-room:]
        return np.concatenate([ids[:before], kept, ids[len(ids) - after :]])

    def targets(self, texts: Sequence[str], max_tokens: int | None) -> list[Ids]:
        """Ids of each text as a model must produce it: closed with the end mark, or cut and left open."""
        encoded = self._plain.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array([*one.ids, *self._end][:max_tokens], dtype=np.int64) for one in encoded]

    def documents(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text as one document among others: begun and closed as the model expects."""
        before, after = self.affixes.before, self.affixes.after or self._end
        encoded = self._plain.encode_batch_fast(list(texts), add_special_tokens=False)
        if not before:
            return [[*one.ids, *after] for one in encoded]
        return [self._once([*before, *one.ids, *after]) for one in encoded]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens left out."""
        return self._reader.decode(list(ids))

    def _once(self, ids: list[int]) -> list[int]:
        before = self.affixes.before
        size = len(before)
        if size and tuple(ids[size : 2 * size]) == before:
            return ids[size:]
        return ids
