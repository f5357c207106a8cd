"""What a prepare job may say: where text comes from, what is done to it, how it becomes blocks of tokens."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainshed.spec.part import Name, Part


class TextFiles(Part):
    """Every matching file is one document."""

    kind: Literal["text_files"] = "text_files"
    path: str = Field(min_length=1)
    """A file, directory, glob or URI (s3://, gs://); or `python-stdlib`, the cluster's own Python library source.
    A relative path starts at the job file's folder and is uploaded with the job."""


class JsonLines(Part):
    """Every line of the matching .jsonl files is one document."""

    kind: Literal["jsonl"] = "jsonl"
    path: str = Field(min_length=1)
    """A file, directory, glob or URI, as for text_files."""
    field: str = "text"
    """The key that holds the text."""


Source = Annotated[TextFiles | JsonLines, Field(discriminator="kind")]


class Clean(Part):
    """Unicode NFC, newlines as \\n, control characters out, trailing blanks off; short documents dropped."""

    kind: Literal["clean"] = "clean"
    min_characters: Annotated[int, Field(ge=0)] = 1
    """Shorter documents are dropped."""


class Deduplicate(Part):
    """Keeps the first of several documents with the same text."""

    kind: Literal["deduplicate"] = "deduplicate"
    method: Literal["exact"] = "exact"


Step = Annotated[Clean | Deduplicate, Field(discriminator="kind")]


class TrainBpe(Part):
    """A byte-level BPE tokenizer trained on the training split."""

    kind: Literal["train_bpe"] = "train_bpe"
    vocab_size: Annotated[int, Field(ge=260, le=1_000_000)]
    """256 bytes, the special tokens, and merges up to this many."""
    chat_template: str | None = None
    """A Jinja template kept with the tokenizer; without one the endpoint has no chat route."""


class Pack(Part):
    """Documents end with <|endoftext|>, are joined, and cut into blocks without padding."""

    block_size: Annotated[int, Field(ge=8)]
    """Tokens in a block: the sequence length of training."""


class Split(Part):
    """Which documents are held out; decided by a hash of their text, so equal texts stay on one side."""

    validation: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """The part of documents held out."""
    seed: int = 0


class PrepareJob(Part):
    """Text to packed blocks of tokens: clean, split, tokenise, pack."""

    kind: Literal["prepare"]
    name: Name
    source: Source
    tokenizer: TrainBpe
    pack: Pack
    steps: tuple[Step, ...] = ()
    """Applied in the order given."""
    split: Split = Split()
