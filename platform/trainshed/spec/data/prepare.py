"""What a prepare job may say: where samples come from, what is done to them, and how they become numbers.

Either text is packed into blocks (`pack`), or samples stay apart and carry a target or a label (`examples`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainshed.spec.data.bad_rows import BadRows, Refuse
from trainshed.spec.data.formats import CONVERSATIONS, KEYS, FormatOrAuto, TooLong, Turns, reads
from trainshed.spec.data.sources import Builtin, Csv, Images, JsonLines, Source, TextFiles, fields_of, image_of
from trainshed.spec.data.tokenizers import (
    Characters,
    PretrainedTokenizer,
    SharedTokenizer,
    SpecialToken,
    Tokenizer,
    TrainBpe,
)
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
    "SharedTokenizer",
    "Source",
    "Split",
    "TextFiles",
    "Tokenizer",
    "TrainBpe",
]


MAX_TOKENS = 128
MAX_TOKENS_OF_A_CONVERSATION = 1024


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
    """Samples share blocks: documents joined end to end and cut, or kept apart and fitted in beside one another."""

    block_size: Annotated[int, Field(ge=8)]
    """Tokens in a block: the sequence length of training."""
    documents: Literal["joined", "apart"] | None = None
    """joined: closed with the end token, joined, and cut into blocks without padding; attention crosses documents.
    apart: each document whole in one block, and attention and positions stay within it; longer ones are cut into
    pieces. Where it is not said texts are joined, and prompts with completions and conversations apart."""


class Examples(Part):
    """Samples stay apart; each field says what it holds. A sample has a text or an image."""

    text: str | None = None
    """The field with the text."""
    text_pair: str | None = None
    """The field with a second text that is judged beside the first: a hypothesis, a passage."""
    target: str | None = None
    """The field with the text to be produced: a translation, an answer."""
    label: str | None = None
    """The field with the label."""
    label_kind: Literal["class", "multi", "number"] = "class"
    """One class; several, as a list or parted by `|`; or a number."""
    image: str | None = None
    """The field with the image."""
    max_tokens: Count | None = None
    """Tokens in the longest text or conversation; where it is not said, 128, and 1,024 of a conversation. What is
    longer goes by `too_long`."""
    max_target_tokens: Count = 128
    """Tokens in the longest target, its end token included; what is longer goes by `too_long`."""

    @model_validator(mode="after")
    def _text_or_image(self) -> Examples:
        if self.text is not None and self.image is not None:
            raise ValueError("say which field holds the text, or which holds the image: `text:` or `image:`")
        if self.image is not None and self.label is None:
            raise ValueError("an image needs a label: say which field holds it")
        if self.text_pair is not None and (self.text is None or self.label is None or self.target is not None):
            raise ValueError("text_pair: two texts are judged by a label: say `text:` and `label:`, and no target")
        return self

    @property
    def fields(self) -> dict[str, str]:
        """What a sample has (text, text_pair, target, label, image): the field of the source that holds it."""
        said = {
            "text": self.text,
            "text_pair": self.text_pair,
            "target": self.target,
            "label": self.label,
            "image": self.image,
        }
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
    format: FormatOrAuto | None = None
    """How a row is told; auto looks at the first row and says what it found. Without it `source.field` or the fields of
    `examples` name what is read."""
    tokenizer: Tokenizer | None = None
    """Needed for text; images have none."""
    pack: Pack | None = None
    """Text as blocks, mostly without padding: for language models."""
    examples: Examples | None = None
    """Samples that stay apart, with a target or a label, or conversations."""
    learn_from: Turns = "all_turns"
    """Of a conversation: what the assistant says in all its turns, or in the last one alone."""
    too_long: TooLong = "cut_right"
    """What happens to a sample with more tokens than `max_tokens` or a block: its end or its beginning is cut, it is
    left out, or the job fails. A target is cut at its end only, and then has no end token. It is all counted."""
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
        has_text = self.examples is None or self.examples.image is None
        if has_text and self.tokenizer is None:
            raise ValueError("tokenizer is missing; text needs one, like {kind: train_bpe, vocab_size: 4096}")
        if not has_text and self.tokenizer is not None:
            raise ValueError("tokenizer: images have no text; leave it out")
        if not has_text and self.steps:
            raise ValueError("steps: they are done to text, and there is none; leave them out")
        return self

    @model_validator(mode="after")
    def _format_fits(self) -> PrepareJob:
        examples = self.examples
        named = examples is not None and (examples.text or examples.image or examples.target or examples.label)
        if self.format is None:
            if examples is not None and examples.text is None and examples.image is None:
                raise ValueError("examples: say which field holds the text, or the image, or say `format:`")
            if self.pack is not None and self.pack.documents == "apart" and image_of(self.source) is not None:
                raise ValueError("pack.documents: images are not packed")
            return self
        if named:
            raise ValueError("format: it says which fields are read; leave those of `examples` out, or leave it out")
        if not isinstance(self.source, JsonLines | Csv):
            raise ValueError(f"format: {self.source.kind} has no rows with keys; it is for jsonl and csv")
        own = isinstance(self.tokenizer, TrainBpe | Characters)
        if self.format in CONVERSATIONS and own and not getattr(self.tokenizer, "chat_template", None):
            raise ValueError(
                f"tokenizer.chat_template is missing: format {self.format} makes conversations; say "
                "`chat_template: chatml`, or give a Jinja template"
            )
        if self.split.by == "position" and self.format != "text":
            raise ValueError(f"split.by: {self.format} cannot be cut by position; say hash")
        if self.pack is not None and self.pack.documents == "joined" and self.format not in ("text", "auto"):
            raise ValueError(f"pack.documents: {self.format} is kept apart; joined is for texts")
        if self.format == "preference" and self.pack is not None:
            raise ValueError("pack: a preference is compared as a whole; say `examples: {max_tokens: ...}`")
        return self

    @model_validator(mode="after")
    def _fields_are_there(self) -> PrepareJob:
        known = fields_of(self.source)
        if self.pack is not None and image_of(self.source) is not None:
            raise ValueError("pack: the source holds images; say `examples: {image: image, label: label}`")
        needed = self.read_fields if self.format is None else dict(zip(self.keys, self.keys, strict=True))
        for what, field in needed.items():
            if known is not None and field not in known:
                key = f"examples.{what}" if self.examples is not None else "source.field"
                key = key if self.format is None else "format"
                raise ValueError(f"{key}: the source has no field {field!r}; it has {', '.join(known)}")
        return self

    @property
    def read_fields(self) -> dict[str, str]:
        """What is read of each sample (text, target, label, image, messages, preference): the field that shows it.

        Nothing while `format` is auto: only the files can tell.
        """
        field = self.source.field if isinstance(self.source, JsonLines | Csv) else "text"
        if self.format == "auto":
            return {}
        if self.format is not None:
            return reads(self.format, field)
        return self.examples.fields if self.examples is not None else {"text": field}

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that every row must have, by the format."""
        if self.format is None or self.format == "auto":
            return ()
        return (self.read_fields["text"],) if self.format == "text" else KEYS[self.format]

    @property
    def apart(self) -> bool:
        """Whether documents in a block are kept out of each other's attention."""
        if self.pack is None:
            return False
        if self.pack.documents is not None:
            return self.pack.documents == "apart"
        return self.read_fields.keys() != {"text"}

    @property
    def special_tokens(self) -> tuple[SpecialToken, ...]:
        """The special tokens a trained tokenizer gets beside <|endoftext|>, in the order of their numbers."""
        if not isinstance(self.tokenizer, TrainBpe | Characters):
            return ()
        wanted = {*self.tokenizer.special_tokens, *(("pad",) if self.examples is not None else ())}
        order: tuple[SpecialToken, ...] = ("pad", "mask", "cls", "sep")
        return tuple(token for token in order if token in wanted)

    @property
    def target_context(self) -> int:
        """Tokens in the longest target; 0 where there are none."""
        has_target = self.examples is not None and "target" in self.read_fields
        return self.examples.max_target_tokens if self.examples is not None and has_target else 0

    @property
    def context(self) -> int:
        """Tokens in the longest sample; 0 for images."""
        if self.pack is not None:
            return self.pack.block_size
        if self.examples is None or self.examples.image is not None:
            return 0
        default = MAX_TOKENS if {"text"} & self.read_fields.keys() else MAX_TOKENS_OF_A_CONVERSATION
        return self.examples.max_tokens or default
