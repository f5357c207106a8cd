"""What a task must know of its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from pydantic import JsonValue

from trainshed.record.data_manifest import DataManifest
from trainshed.runtime.encoding import SpecialIds, TextEncoder


@dataclass(frozen=True)
class DataFacts:
    """Sizes, labels, and the folder of the tokenizer that made the data (None for images)."""

    vocab_size: int
    block_size: int
    """Tokens in the longest sample."""
    tokenizer: Path | None
    max_target_tokens: int = 0
    labels: tuple[str, ...] = ()
    label_counts: tuple[int, ...] = ()
    """Of the training split."""
    image: tuple[int, int] | None = None
    """Pixels on each side, channels."""
    apart: bool = False
    """Whether a sample is a block of documents that are kept out of each other's attention."""
    reference: Mapping[str, JsonValue] | None = None
    """Of data with a reference: the shape of its model, by the names of config.json."""
    special_tokens_obeyed: bool = True
    """Whether a text of the data that spells a special token became it, as in data that does not say."""

    @staticmethod
    def read(folder: Path, manifest: DataManifest) -> DataFacts:
        """Reads them from prepared data."""
        return DataFacts(
            vocab_size=manifest.vocab_size or 0,
            block_size=manifest.longest,
            tokenizer=folder / "tokenizer" if manifest.vocab_size is not None else None,
            max_target_tokens=manifest.max_target_tokens,
            labels=manifest.labels,
            label_counts=manifest.splits["train"].label_counts,
            image=manifest.pixels,
            apart=manifest.apart,
            reference=None if manifest.reference is None else manifest.reference.shape,
            special_tokens_obeyed=manifest.job.special_tokens_in_text == "obeyed",
        )

    def with_labels(self, labels: tuple[str, ...]) -> DataFacts:
        """The same with the labels that a model knows, of which the data may have some."""
        return replace(self, labels=labels, label_counts=())

    @property
    def text_folder(self) -> Path:
        """The tokenizer's folder, where there must be one."""
        if self.tokenizer is None:
            raise ValueError("the data has no text and no tokenizer")
        return self.tokenizer

    @cached_property
    def special(self) -> SpecialIds:
        """The tokenizer's special tokens."""
        return SpecialIds.read(self.text_folder)

    @cached_property
    def encoder(self) -> TextEncoder:
        """Texts to ids as the data was made; a text may also say where the mask is, which only questions do."""
        obeyed = None if self.special_tokens_obeyed else ("mask_token",)
        return TextEncoder.read(self.text_folder, max_tokens=self.block_size, obeyed=obeyed)

    @property
    def pad(self) -> int:
        """What short samples are filled up with; masked out everywhere."""
        found = [number for number in (self.special.pad, self.special.eos) if number is not None]
        return found[0] if found else 0
