"""Special tokens that texts spell, like `<|endoftext|>` in an article about language models: taken as text, or obeyed.

Either way they are counted, so that nobody learns from the data's figures what the job could have said.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tokenizers import Tokenizer

from trainshed.record.data_manifest import SamplesFacts
from trainshed.runtime.encoding import ConversationEncoder, Marks

PREFIX_CHARACTERS = 2


@dataclass(frozen=True)
class TextForm:
    """How the texts of a job are tokenised."""

    tokenizer: Tokenizer
    marks: Marks
    """Of the same tokenizer."""
    obeyed: bool
    """Whether a text that spells a special token becomes it."""
    threads: int = 1
    """That tokenise one block."""
    end: int | None = None
    """The token that closes a document or a target."""
    conversations: ConversationEncoder | None = None
    """Of the same tokenizer; None where it has no chat template."""

    @property
    def serialized(self) -> str:
        """The tokenizer.json that workers encode with."""
        return self.tokenizer.to_str() if self.obeyed else self.marks.text_only

    @property
    def finder(self) -> MarkFinder:
        """What looks for its marks in texts."""
        return MarkFinder(self.marks.spelled)

    @property
    def ids(self) -> int:
        """One more than its largest id: an array over tokens needs so many places, also where ids are left out."""
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1


class MarkFinder:
    """Finds marks in texts; travels to the workers of Ray Data."""

    def __init__(self, marks: Iterable[str]) -> None:
        self._marks = tuple(marks)
        self._prefixes = tuple({mark[:PREFIX_CHARACTERS] for mark in self._marks})
        self._any = re.compile("|".join(map(re.escape, self._marks))) if self._marks else None

    def in_text(self, text: str) -> str:
        """The marks that a text spells and how often, as JSON; "" where there are none, as in nearly every text."""
        if self._any is None or not any(prefix in text for prefix in self._prefixes):
            return ""
        found = Counter(self._any.findall(text))
        return json.dumps(found) if found else ""


@dataclass
class Tally:
    """The counts of special tokens over all texts, kept in the driver."""

    counts: Counter[str] = field(default_factory=Counter)
    texts: int = 0

    def add(self, found: Iterable[str]) -> None:
        """What `MarkFinder.in_text` said of some texts."""
        for one in found:
            if one:
                self.counts.update(json.loads(one))
                self.texts += 1

    def said_of(self, samples: SamplesFacts) -> SamplesFacts:
        """The samples with what was found in their texts; the same where nothing was."""
        if not self.counts:
            return samples
        return samples.model_copy(update={"special_tokens_in_text": dict(sorted(self.counts.items()))})
