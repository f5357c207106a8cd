"""What a run that came to something says in result.json, by its kind of job. One union: `Outcome`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from trainshed.record.facts import Facts
from trainshed.record.names import DataFolder, Fingerprint, ModelFolder, RunId, ServedModel, TrialName, Url

Counted = Annotated[int, Field(ge=0)]


class ShardFacts(Facts):
    """One shard of a split."""

    file: str


class SplitFacts(Facts):
    """One split of prepared data."""

    samples: Counted = 0
    tokens: Counted = 0
    documents: Counted = 0
    unigram_entropy_nats: float | None = None
    shards: tuple[ShardFacts, ...] = ()


class ImageFacts(Facts):
    """The form of the images."""

    size: Annotated[int, Field(ge=1)]
    channels: Annotated[int, Field(ge=1)]


class DataManifest(Facts):
    """manifest.json of prepared data: what `spec.fitting.form_of_manifest` compares with a training."""

    splits: dict[str, SplitFacts]
    vocab_size: Counted | None = None
    block_size: Counted | None = None
    max_tokens: Counted | None = None
    max_target_tokens: Counted = 0
    label_kind: str | None = None
    labels: tuple[str, ...] = ()
    image: ImageFacts | None = None
    has: tuple[str, ...] = ()
    form: str = "packed"
    special_tokens: tuple[str, ...] = ()
    own_tokenizer: bool = True


class PrepareOutcome(Facts):
    """Prepared data."""

    data: DataFolder
    manifest: DataManifest
    address: str = ""
    reused: bool = False


class TrialStory(Facts):
    """One trial of a sweep."""

    trial: TrialName
    settings: dict[str, Any]
    state: str = ""
    value: float | None = None
    cause: str | None = None
    kind: str | None = None
    history: tuple[tuple[float, float | None], ...] = ()


class BestTrial(TrialStory):
    """The best one, with its whole training."""

    training: dict[str, Any]


class TuneOutcome(Facts):
    """A sweep."""

    best: BestTrial | None
    """None where a budget ended before any figure."""
    trials: tuple[TrialStory, ...]
    metric: str = "validation_loss"
    goal: str = "min"
    registered: str | None = None


class TrainOutcome(Facts):
    """A training."""

    metrics: dict[str, Any]
    model: ModelFolder
    checkpoint: str | None = None
    unigram_entropy_nats: float | None = None
    registered: str | None = None


class ServeOutcome(Facts):
    """An endpoint, as it was when it was deployed."""

    url: Url
    model: ServedModel
    model_run: RunId
    fingerprint: Fingerprint


Outcome = PrepareOutcome | TuneOutcome | TrainOutcome | ServeOutcome
OUTCOMES: dict[str, type[Outcome]] = {
    "prepare": PrepareOutcome,
    "tune": TuneOutcome,
    "train": TrainOutcome,
    "serve": ServeOutcome,
}
"""By the `kind` of the job."""
