"""Which tokenizer turns text into numbers: trained on the training split, or one that is there."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from trainshed.spec.document.locations import ModelPlace
from trainshed.spec.document.part import Part, RunRef

SPECIAL = re.compile(r"<\|\w+\|>")

SpecialToken = Literal["pad", "mask", "cls", "sep"]
"""`<|pad|>` fills up short samples, `<|mask|>` hides a token, `<|cls|>` and `<|sep|>` enclose a sample."""


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The turns of ChatML, which many chat models have."""


class TrainBpe(Part):
    """A byte-level BPE tokenizer trained on the training split."""

    kind: Literal["train_bpe"] = "train_bpe"
    vocab_size: Annotated[int, Field(ge=260, le=1_000_000)]
    """256 bytes, the special tokens, and merges up to this many."""
    special_tokens: tuple[SpecialToken, ...] = ()
    """Beside <|endoftext|>; `examples` have pad in any case, masked_lm needs mask."""
    chat_template: str | None = None
    """A Jinja template kept with the tokenizer, or `chatml`; without one the endpoint has no chat route. Special tokens
    that it writes like <|this|> become tokens."""


class Characters(Part):
    """One token for every character of the training split; others become <|unknown|>."""

    kind: Literal["characters"] = "characters"
    special_tokens: tuple[SpecialToken, ...] = ()
    """Beside <|endoftext|> and <|unknown|>; `examples` have pad in any case, masked_lm needs mask."""
    chat_template: str | None = None
    """A Jinja template kept with the tokenizer, or `chatml`; special tokens that it writes like <|this|> become
    tokens."""


def template_of(tokenizer: TrainBpe | Characters) -> str | None:
    """The chat template that a job gives its tokenizer."""
    return CHATML if tokenizer.chat_template == "chatml" else tokenizer.chat_template


def tokens_in(template: str) -> tuple[str, ...]:
    """The special tokens that a template writes, each once, in their order."""
    return tuple(dict.fromkeys(SPECIAL.findall(template)))


class PretrainedTokenizer(Part):
    """The tokenizer of an existing model."""

    kind: Literal["pretrained"] = "pretrained"
    name_or_path: ModelPlace
    """An absolute directory or s3:// address that the cluster reads, or a name on the Hugging Face hub."""


class SharedTokenizer(Part):
    """The tokenizer of other prepared data, so that a model that was trained on that is tuned on this."""

    kind: Literal["of_data"] = "of_data"
    data: RunRef
    """The prepare run whose tokenizer is used."""


Tokenizer = Annotated[TrainBpe | Characters | PretrainedTokenizer | SharedTokenizer, Field(discriminator="kind")]
