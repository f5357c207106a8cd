"""Which tokenizer turns text into numbers: trained on the training split, or one that is there."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainshed.spec.document.locations import ModelPlace
from trainshed.spec.document.part import Part

SpecialToken = Literal["pad", "mask", "cls", "sep"]
"""`<|pad|>` fills up short samples, `<|mask|>` hides a token, `<|cls|>` and `<|sep|>` enclose a sample."""


class TrainBpe(Part):
    """A byte-level BPE tokenizer trained on the training split."""

    kind: Literal["train_bpe"] = "train_bpe"
    vocab_size: Annotated[int, Field(ge=260, le=1_000_000)]
    """256 bytes, the special tokens, and merges up to this many."""
    special_tokens: tuple[SpecialToken, ...] = ()
    """Beside <|endoftext|>; `examples` have pad in any case, masked_lm needs mask."""
    chat_template: str | None = None
    """A Jinja template kept with the tokenizer; without one the endpoint has no chat route."""


class Characters(Part):
    """One token for every character of the training split; others become <|unknown|>."""

    kind: Literal["characters"] = "characters"
    special_tokens: tuple[SpecialToken, ...] = ()
    """Beside <|endoftext|> and <|unknown|>; `examples` have pad in any case, masked_lm needs mask."""
    chat_template: str | None = None
    """A Jinja template kept with the tokenizer."""


class PretrainedTokenizer(Part):
    """The tokenizer of an existing model."""

    kind: Literal["pretrained"] = "pretrained"
    name_or_path: ModelPlace
    """An absolute directory or s3:// address that the cluster reads, or a name on the Hugging Face hub."""


Tokenizer = Annotated[TrainBpe | Characters | PretrainedTokenizer, Field(discriminator="kind")]
