"""Special tokens as text: the twin of a tokenizer in which no text spells one. Knows tokenizer.json alone."""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from trainshed.runtime.encoding.special import TOKENIZER, TOKENIZER_CONFIG, content, named_tokens
from trainshed.runtime.encoding.template import ChatTemplate
from trainshed.spec.training.models.folder import read_json

MORE = ("additional_special_tokens", "extra_special_tokens")
"""Keys of tokenizer_config.json that list further special tokens, in older and newer files."""


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
        """Reads the tokenizer in a folder, and the marks of its chat template where it has one.

        Texts may write the tokens of the roles `obeyed`, such as `mask_token`.
        """
        roles = named_tokens(folder)
        serialized = (folder / TOKENIZER).read_text()
        named = {*roles.values()}
        config = read_json(folder / TOKENIZER_CONFIG)
        named |= {content(one) for key in MORE for one in config.get(key) or ()}
        template = ChatTemplate.read(folder)
        if template is not None:
            added = [one["content"] for one in json.loads(serialized)["added_tokens"]]
            named |= template.structure(added)
        return Marks(serialized, named=named, obeyed=[roles[name] for name in obeyed if name in roles])

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

    def first(self, text: str) -> str | None:
        """The first mark that a text spells."""
        found = self._any.search(text)
        return found[0] if found else None

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
