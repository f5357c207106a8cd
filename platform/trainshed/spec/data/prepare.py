"""What a prepare job may say: where samples come from, what is done to them, and how they become numbers.

Either text is packed into blocks (`pack`), or samples stay apart and carry a target or a label (`examples`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainshed.spec.data.bad_rows import BadRows, Refuse
from trainshed.spec.data.sources import Builtin, Csv, Images, JsonLines, Source, TextFiles, fields_of, image_of
from trainshed.spec.data.tokenizers import Characters, PretrainedTokenizer, SpecialToken, Tokenizer, TrainBpe
from trainshed.spec.document.part import Count, Name, Part

__all__ = [
    "Builtin",
    "Characters",
    "Clean",
    "Csv",
    "Deduplicate",
    "Examples",
    "Images",
    "JsonLines",
    "Pack",
    "PrepareJob",
    "PrepareStep",
    "PretrainedTokenizer",
    "Source",
    "Split",
    "TextFiles",
    "Tokenizer",
    "TrainBpe",
]


class Clean(Part):
    """Unicode NFC, newlines as \\n, control characters out, trailing blanks off, of texts and targets."""

    kind: Literal["clean"] = "clean"
    min_characters: Annotated[int, Field(ge=0)] = 1
    """Shorter documents are dropped."""


class Deduplicate(Part):
    """Keeps one of several samples with the same text, target and label: a held-out one, else the first."""

    kind: Literal["deduplicate"] = "deduplicate"
    method: Literal["exact"] = "exact"


PrepareStep = Annotated[Clean | Deduplicate, Field(discriminator="kind")]


class Pack(Part):
    """Documents end with <|endoftext|>, are joined, and cut into blocks without padding."""

    block_size: Annotated[int, Field(ge=8)]
    """Tokens in a block: the sequence length of training."""


class Examples(Part):
    """Samples stay apart; each field says what it holds. A sample has a text or an image."""

    text: str | None = None
    """The field with the text."""
    target: str | None = None
    """The field with the text to be produced: a translation, an answer."""
    label: str | None = None
    """The field with the label."""
    label_kind: Literal["class", "multi", "number"] = "class"
    """One class; several, as a list or parted by `|`; or a number."""
    image: str | None = None
    """The field with the image."""
    max_tokens: Count = 128
    """Longer texts are cut."""
    max_target_tokens: Count = 128
    """Longer targets are cut."""

    @model_validator(mode="after")
    def _text_or_image(self) -> Examples:
        if (self.text is None) == (self.image is None):
            raise ValueError("say which field holds the text, or which holds the image: `text:` or `image:`")
        if self.image is not None and self.label is None:
            raise ValueError("an image needs a label: say which field holds it")
        return self

    @property
    def fields(self) -> dict[str, str]:
        """What a sample has (text, target, label, image): the field of the source that holds it."""
        said = {"text": self.text, "target": self.target, "label": self.label, "image": self.image}
        return {what: field for what, field in said.items() if field is not None}


class Split(Part):
    """Which samples are held out."""

    validation: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """The part of documents held out; not used where the source names its own validation files."""
    test: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """The part kept for one measurement at the end; not used where the source names its own test files."""
    by: Literal["hash", "position"] = "hash"
    """hash: whole documents, decided by their text, so equal texts stay on one side. position: the last part of every
    document, for few long ones."""
    seed: int = 0
    """Of the hash."""
    remove_leaks: bool = True
    """Whether training samples go whose text, or image, stands in a held-out set too; they are counted in any case."""

    @model_validator(mode="after")
    def _something_is_left(self) -> Split:
        if self.validation + self.test >= 1.0:
            raise ValueError(
                f"split.validation and split.test leave nothing to train on: {self.validation + self.test}"
            )
        return self


class PrepareJob(Part):
    """Prepares files for training: clean, split, tokenise, then pack into blocks or keep as examples."""

    kind: Literal["prepare"]
    name: Name
    source: Source
    tokenizer: Tokenizer | None = None
    """Needed for text; images have none."""
    pack: Pack | None = None
    """Text as blocks without padding: for language models."""
    examples: Examples | None = None
    """Samples with a target or a label."""
    steps: tuple[PrepareStep, ...] = ()
    """Applied in the order given."""
    bad_rows: BadRows = Refuse()
    """What happens to rows that cannot be read, or hold something else than what the job says."""
    special_tokens_in_text: Literal["plain", "obeyed"] = "plain"
    """plain: a text that spells a special token, like <|endoftext|>, is text. obeyed: it becomes that token, as texts
    need that a chat template has made."""
    split: Split = Split()

    @model_validator(mode="after")
    def _packed_or_examples(self) -> PrepareJob:
        if (self.pack is None) == (self.examples is None):
            both = self.pack is not None
            raise ValueError(
                f"{'pack and examples exclude' if both else 'pack or examples is missing: they exclude'} "
                "each other; say `pack:` for blocks of tokens, `examples:` for samples with a label or target"
            )
        if self.split.by == "position" and self.pack is None:
            raise ValueError("split.by: only text that is packed can be cut by position; say hash")
        has_text = self.examples is None or self.examples.text is not None
        if has_text and self.tokenizer is None:
            raise ValueError("tokenizer is missing; text needs one, like {kind: train_bpe, vocab_size: 4096}")
        if not has_text and self.tokenizer is not None:
            raise ValueError("tokenizer: images have no text; leave it out")
        if not has_text and self.steps:
            raise ValueError("steps: they are done to text, and there is none; leave them out")
        return self

    @model_validator(mode="after")
    def _fields_are_there(self) -> PrepareJob:
        known = fields_of(self.source)
        if self.pack is not None and image_of(self.source) is not None:
            raise ValueError("pack: the source holds images; say `examples: {image: image, label: label}`")
        for what, field in self.read_fields.items():
            if known is not None and field not in known:
                key = f"examples.{what}" if self.examples is not None else "source.field"
                raise ValueError(f"{key}: the source has no field {field!r}; it has {', '.join(known)}")
        return self

    @property
    def read_fields(self) -> dict[str, str]:
        """What is read of each sample (text, target, label, image): the source's field that holds it."""
        if self.examples is not None:
            return self.examples.fields
        return {"text": self.source.field if isinstance(self.source, JsonLines | Csv) else "text"}

    @property
    def special_tokens(self) -> tuple[SpecialToken, ...]:
        """The special tokens a trained tokenizer gets beside <|endoftext|>, in the order of their numbers."""
        if self.tokenizer is None or isinstance(self.tokenizer, PretrainedTokenizer):
            return ()
        wanted = {*self.tokenizer.special_tokens, *(("pad",) if self.examples is not None else ())}
        order: tuple[SpecialToken, ...] = ("pad", "mask", "cls", "sep")
        return tuple(token for token in order if token in wanted)

    @property
    def target_context(self) -> int:
        """Tokens in the longest target; 0 where there are none."""
        return self.examples.max_target_tokens if self.examples is not None and self.examples.target else 0

    @property
    def context(self) -> int:
        """Tokens in the longest sample; 0 for images."""
        if self.pack is not None:
            return self.pack.block_size
        return self.examples.max_tokens if self.examples is not None and self.examples.text is not None else 0
