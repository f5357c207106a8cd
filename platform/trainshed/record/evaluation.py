"""What an evaluation came to: figures with their intervals, what leaked, and the verdict of its gate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from trainshed.record.facts import Facts
from trainshed.record.names import Fingerprint, RunId, ServedModel
from trainshed.spec.document.part import Name, like

MetricName = Annotated[str, like(r"^\w{1,64}$", "no name of a metric")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Estimate(Facts):
    """One figure; an interval is (low, high), and None where the figure has none."""

    value: float
    interval: tuple[float, float] | None = None
    other: float | None = None
    """That of `against` on the same samples."""
    difference: tuple[float, float] | None = None
    """The interval of this one less the other, of the same draws."""


class OverlapFacts(Facts):
    """How much of the evaluated samples stood in the training set."""

    ngram: int
    training_data: RunId
    """The prepare run whose training split was compared."""
    samples: int
    overlapping: int
    share: Share
    """Of the samples, those that share at least one run of tokens with the training set."""
    run_share: Share
    """Of all runs of the samples, those that the training set has too."""


class Verdict(Facts):
    """What the gate said."""

    require: dict[str, JsonValue]
    """As the job has it."""
    passed: bool
    reasons: tuple[str, ...] = ()
    """Why it did not pass."""


class Evaluated(Facts):
    """What a version carries of an evaluation: models/NAME/evaluations/N/RUN.json."""

    run_id: RunId
    name: Name
    """Of the evaluate job."""
    created_at: str
    split: Literal["train", "validation", "test"]
    samples: int
    metrics: dict[MetricName, Estimate]
    verdict: Verdict | None = None
    """None where the job has no gate."""


class EvaluationResult(Facts):
    """An evaluation."""

    model: ServedModel
    model_run: RunId
    fingerprint: Fingerprint | None = None
    """Of the model's lineage."""
    against: ServedModel | None = None
    data: RunId
    data_fingerprint: str | None = None
    split: Literal["train", "validation", "test"]
    samples: int
    answered: int = 0
    """Samples that the model generated an answer for."""
    confidence: float
    metrics: dict[MetricName, Estimate]
    signatures: dict[str, str] = Field(default_factory=dict)
    """What makes BLEU and chrF comparable, in sacrebleu's words."""
    overlap: OverlapFacts | None = None
    """None where there is nothing to compare, which `remarks` says."""
    remarks: tuple[str, ...] = ()
    verdict: Verdict | None = None
    """None where the job has no gate."""
    registered: str | None = None
    promoted: str | None = None
    """NAME@ALIAS, where the version got one."""
    failure: str | None = Field(default=None, exclude=True)
    """Why the model did not pass; it becomes the run's `cause`."""
