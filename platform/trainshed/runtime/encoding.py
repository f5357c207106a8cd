"""Text to token ids and back, the same when data is prepared, when a model is trained and when it is asked.

Knows tokenizer.json as Hugging Face writes it; knows nothing of models.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

Ids = np.ndarray[Any, np.dtype[np.int64]]

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
        """Of the tokenizer in a folder."""
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


class TextEncoder:
    """The tokenizer in a folder; a sample's text is cut at `max_tokens`, its special tokens kept."""

    def __init__(self, serialized: str, *, max_tokens: int | None, end: int | None) -> None:
        """`end` is appended to targets where the tokenizer does not enclose them by itself."""
        self._plain = Tokenizer.from_str(serialized)
        self._cut = Tokenizer.from_str(serialized)
        self._cut.no_padding()
        self._plain.no_padding()
        self._plain.no_truncation()
        if max_tokens is not None:
            self._cut.enable_truncation(max_tokens)
        self._end = end

    @staticmethod
    def read(folder: Path, *, max_tokens: int | None) -> TextEncoder:
        """The tokenizer that prepared data keeps beside its shards."""
        serialized = (folder / "tokenizer.json").read_text()
        return TextEncoder(serialized, max_tokens=max_tokens, end=SpecialIds.read(folder).eos)

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
        return self._plain.decode(list(ids))

    @property
    def vocab_size(self) -> int:
        """Tokens it knows, special ones included."""
        return self._plain.get_vocab_size()
