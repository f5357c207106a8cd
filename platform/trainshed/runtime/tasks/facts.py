"""What a task must know of its data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

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
    special_tokens_obeyed: bool = True
    """Whether a text of the data that spells a special token became it, as in data that does not say."""

    @staticmethod
    def read(folder: Path, manifest: dict[str, Any]) -> DataFacts:
        """Of prepared data."""
        image = manifest.get("image")
        return DataFacts(
            vocab_size=int(manifest.get("vocab_size", 0)),
            block_size=int(manifest.get("block_size") or manifest.get("max_tokens") or 0),
            tokenizer=folder / "tokenizer" if "vocab_size" in manifest else None,
            max_target_tokens=int(manifest.get("max_target_tokens", 0)),
            labels=tuple(manifest.get("labels", ())),
            label_counts=tuple(manifest["splits"]["train"].get("label_counts", ())),
            image=(image["size"], image["channels"]) if image else None,
            special_tokens_obeyed=manifest.get("job", {}).get("special_tokens_in_text", "obeyed") == "obeyed",
        )

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
