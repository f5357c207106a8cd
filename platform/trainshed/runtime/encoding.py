"""Text to token ids and back, the same when data is prepared, when a model is trained and when it is asked.

Knows tokenizer.json as Hugging Face writes it; knows nothing of models.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

Ids = np.ndarray[Any, np.dtype[np.int64]]

MARK_NAMES = ("bos_token", "eos_token", "pad_token", "mask_token", "cls_token", "sep_token", "unk_token")
"""Keys of tokenizer_config.json whose tokens mean something, whether tokenizer.json calls them special or not."""

ROLES = {"bos_token": "bos", "eos_token": "eos", "pad_token": "pad", "mask_token": "mask", "cls_token": "cls"}


@dataclass(frozen=True)
class SpecialIds:
    """The numbers of the special tokens; None where the tokenizer has none."""

    eos: int | None
    bos: int | None
    pad: int | None
    mask: int | None
    cls: int | None
    all: frozenset[int]

    @staticmethod
    def read(folder: Path) -> SpecialIds:
        """Reads them from the tokenizer in a folder."""
        config = json.loads((folder / "tokenizer_config.json").read_text())
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        found: dict[str, int | None] = {}
        for key, role in ROLES.items():
            said = config.get(key)
            content = said.get("content") if isinstance(said, dict) else said
            found[role] = tokenizer.token_to_id(str(content)) if content else None
        eos = found["eos"]
        if eos is None:  # BERT's own tokenizers end a text with [SEP] and name no end mark
            sep = config.get("sep_token")
            content = sep.get("content") if isinstance(sep, dict) else sep
            found["eos"] = tokenizer.token_to_id(str(content)) if content else None
        added = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        return SpecialIds(**found, all=frozenset(added))


class Marks:
    """The special tokens of a tokenizer, and its twin in which no text spells them.

    `encode_special_tokens` of tokenizers is not enough: a mark that stands in the vocabulary of a Unigram, WordPiece or
    WordLevel model is found by the model itself. In the twin every mark is spelled by random letters instead, so text
    is text, and every id stays what it was.
    """

    def __init__(self, serialized: str, *, named: Iterable[str] = (), obeyed: Iterable[str] = ()) -> None:
        """Reads a tokenizer.json; `named` are added tokens that are marks though not called special, `obeyed` are
        those that texts may write.
        """
        self._serialized = serialized
        wanted = set(named)
        free = set(obeyed)
        added = [one for one in json.loads(serialized)["added_tokens"] if one["content"] and one["content"] not in free]
        spelled = [token["content"] for token in added if token["special"] or token["content"] in wanted]
        self.spelled = tuple(sorted(spelled, key=len, reverse=True))
        self._numbers = {mark: number for number, mark in enumerate(self.spelled)}
        self._secrets = {mark: f"mark{secrets.token_hex(16)}" for mark in self.spelled}
        self._cover = f"\ue000{secrets.randbits(100)}x"
        self._any = re.compile("|".join(map(re.escape, self.spelled))) if spelled else re.compile("(?!)")

    @staticmethod
    def read(folder: Path, *, obeyed: Iterable[str] = ()) -> Marks:
        """Reads the tokenizer in a folder; texts may write the tokens of the roles `obeyed`, such as `mask_token`."""
        config = json.loads((folder / "tokenizer_config.json").read_text())
        said = [config.get(name) for name in MARK_NAMES] + list(config.get("additional_special_tokens") or ())
        free = [_content(config[name]) for name in obeyed if config.get(name)]
        named = [_content(one) for one in said if one]
        return Marks((folder / "tokenizer.json").read_text(), named=named, obeyed=free)

    def found(self, text: str) -> Counter[str]:
        """How often a text spells each mark."""
        return Counter(self._any.findall(text))

    @cached_property
    def text_only(self) -> str:
        """The twin's tokenizer.json: what it encodes holds no mark but those that its own post-processor adds."""
        twin = json.loads(self._serialized)
        for token in twin["added_tokens"]:
            if token["content"] in self._secrets:
                token |= {"content": self._secrets[token["content"]], "single_word": False}
        model = twin["model"]
        if model.get("unk_token") in self._secrets:
            model["unk_token"] = self._secrets[model["unk_token"]]
        if isinstance(model["vocab"], dict):
            model["vocab"] = {self._secrets.get(piece, piece): number for piece, number in model["vocab"].items()}
        else:
            model["vocab"] = [[self._secrets.get(piece, piece), score] for piece, score in model["vocab"]]
        if "merges" in model:
            model["merges"] = [merge for merge in model["merges"] if not self._makes_a_mark(merge)]
        return json.dumps(twin, ensure_ascii=False)

    def veil(self, text: str) -> str:
        """The text with every mark in it under a cover, so that a chat template carries it as text; see `spell`."""
        return self._any.sub(lambda mark: f"{self._cover}{self._numbers[mark[0]]}\ue001", text)

    def spell(self, rendered: str) -> str:
        """The text for the twin: a rendered template whose own marks stay marks, those in veiled texts become text."""
        marked = self._any.sub(lambda mark: self._secrets[mark[0]], rendered)
        return re.sub(self._cover + r"(\d+)\ue001", lambda number: self.spelled[int(number[1])], marked)

    def _makes_a_mark(self, merge: str | list[str]) -> bool:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        return "".join(parts) in self._secrets or any(part in self._secrets for part in parts)


class TextEncoder:
    """The tokenizer in a folder; a sample's text is cut at `max_tokens`, its special tokens kept."""

    def __init__(
        self, serialized: str, *, max_tokens: int | None, end: int | None, readable: str | None = None
    ) -> None:
        """`end` is appended to targets where the tokenizer does not enclose them by itself; `readable` is the tokenizer
        that decodes, where `serialized` is a twin of it.
        """
        self._serialized = serialized
        self._readable = readable or serialized
        self._max_tokens = max_tokens
        self._end = end

    @staticmethod
    def read(folder: Path, *, max_tokens: int | None, obeyed: Iterable[str] | None = None) -> TextEncoder:
        """The tokenizer that prepared data keeps beside its shards.

        Texts may write the special tokens of the roles `obeyed`, such as `mask_token`; all of them where it is None.
        """
        readable = (folder / "tokenizer.json").read_text()
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

    @cached_property
    def _cut(self) -> Tokenizer:
        if self._max_tokens is None:
            return self._plain
        tokenizer = Tokenizer.from_str(self._serialized)
        tokenizer.no_padding()
        tokenizer.enable_truncation(self._max_tokens)
        return tokenizer

    def texts(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text as a model reads it, enclosed in special tokens where the tokenizer has a template."""
        return [np.array(one.ids, dtype=np.int64) for one in self._cut.encode_batch_fast(list(texts))]

    def targets(self, texts: Sequence[str], max_tokens: int) -> list[Ids]:
        """Ids of each text as a model must produce it: cut, and closed with the end mark."""
        encoded = self._plain.encode_batch_fast(list(texts), add_special_tokens=False)
        end = [] if self._end is None else [self._end]
        return [np.array([*one.ids[: max_tokens - len(end)], *end], dtype=np.int64) for one in encoded]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens left out."""
        return self._reader.decode(list(ids))


def _content(token: Any) -> str:
    """The spelling of a token, which tokenizer_config.json says plainly or with its flags."""
    return str(token.get("content")) if isinstance(token, dict) else str(token)
