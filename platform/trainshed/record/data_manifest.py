"""manifest.json of prepared data: what the data is and what it was made of. `prepare` writes it, last of all.

Each part is written by whoever knows it; the file holds them side by side.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue

from trainshed.record.facts import Facts

Counted = Annotated[int, Field(ge=0)]


class ShardFacts(Facts):
    """One shard of a split."""

    file: str
    samples: Counted = 0
    bytes: Counted = 0
    sha256: str = ""
    """What does not say it can be compared with nothing, and is taken for damaged."""


class SplitFacts(Facts):
    """One split of prepared data."""

    documents: Counted = 0
    samples: Counted = 0
    blocks: Counted = 0
    tokens: Counted = 0
    tokens_left_out: Counted = 0
    """At the end of the split: less than one block."""
    unigram_entropy_nats: float | None = None
    """Of packed blocks: no model of single tokens has a lower loss."""
    label_counts: tuple[Counted, ...] = ()
    learnt_tokens: Counted | None = None
    """Of conversations and completions: the tokens that are learnt."""
    cut: Counted = 0
    """Samples that lost tokens, as they were too long."""
    left_out: dict[str, Counted] = Field(default_factory=dict)
    """Samples that were too long, had nothing to learn, or were refused by the chat template."""
    not_as_asked: Counted = 0
    """Conversations whose last answer is not begun as the endpoint asks for it."""
    shards: tuple[ShardFacts, ...] = ()


class ImageFacts(Facts):
    """The form of the images."""

    size: Annotated[int, Field(ge=1)]
    channels: Annotated[int, Field(ge=1)]


class BadRowsFacts(Facts):
    """The rows that could not be read: how many are left out, and the first of them in words."""

    left_out: Counted
    first: tuple[str, ...] = ()


class PreparedFrom(Facts):
    """The prepare job, but for names and places; the rest of it is the business of `spec`."""

    special_tokens_in_text: str = "obeyed"
    """Data of an earlier version does not say: there they were."""


class SourceFacts(Facts):
    """What the data was made of, and by which run."""

    fingerprint: str | None = None
    made_by: str | None = None
    files: Counted | None = None
    holds: dict[str, str] = Field(default_factory=dict)
    """What each place of the source holds, in words."""
    job: PreparedFrom = PreparedFrom()
    libraries: dict[str, str] = Field(default_factory=dict)


class TokenizerFacts(Facts):
    """The tokenizer that lies beside the data; images have none."""

    vocab_size: Counted | None = None
    """One more than the largest id."""
    tokenizer_sha256: str | None = None
    tokenizer_files: dict[str, str] = Field(default_factory=dict)
    """The SHA-256 of each of its files."""
    special_tokens: tuple[str, ...] = ()
    own_tokenizer: bool = True
    """Whether it was trained on the data."""


class ReadingFacts(Facts):
    """What was read, and what of it was left out."""

    has: tuple[str, ...] = ("text",)
    format: str | None = None
    """How the rows were told; None where the job named their fields."""
    bad_rows: BadRowsFacts | None = None
    leaks: dict[str, Counted] = Field(default_factory=dict)
    """Training samples that a held-out split has too."""


class SamplesFacts(Facts):
    """The samples, split by split, and the form that they have."""

    splits: dict[str, SplitFacts]
    form: str = "packed"
    block_size: Counted | None = None
    max_tokens: Counted | None = None
    max_target_tokens: Counted = 0
    apart: bool = False
    """Whether a sample is a block of documents that are kept out of each other's attention."""
    label_kind: str | None = None
    labels: tuple[str, ...] = ()
    image: ImageFacts | None = None
    images_changed: dict[str, Counted] = Field(default_factory=dict)
    special_tokens_in_text: dict[str, Counted] = Field(default_factory=dict)
    """How often texts spell each of them."""

    @property
    def longest(self) -> int:
        """Tokens in the longest sample, without its target; 0 where samples have no text."""
        return self.block_size or self.max_tokens or 0

    @property
    def pixels(self) -> tuple[int, int] | None:
        """The size of the images: pixels on each side, and channels."""
        return None if self.image is None else (self.image.size, self.image.channels)


class ReferenceFacts(Facts):
    """The model whose log-probabilities stand beside the answers of preferences."""

    model: str
    """As the job named it."""
    precision: str = "fp32"
    weights: dict[str, JsonValue] = Field(default_factory=dict)
    """Of a model of our own: the export, as `WeightsOrigin`."""
    shape: dict[str, JsonValue] = Field(default_factory=dict)
    """Its architecture and sizes, by the names of its config.json; see `spec.training.models.sameness`."""
    of: str | None = None
    """The fingerprint of the data without it."""


class DataManifest(SourceFacts, TokenizerFacts, ReadingFacts, SamplesFacts):
    """manifest.json of prepared data."""

    reference: ReferenceFacts | None = None
    """Where a reference job has made it of other data."""

    @staticmethod
    def of(
        source: SourceFacts, tokenizer: TokenizerFacts, reading: ReadingFacts, samples: SamplesFacts
    ) -> DataManifest:
        """The parts in one."""
        said = source.as_json() | tokenizer.as_json() | reading.as_json() | samples.as_json()
        return DataManifest.model_validate(said)
