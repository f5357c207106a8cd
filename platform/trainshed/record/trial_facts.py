"""What the files of a trial say, and what comes of them in the result of its sweep.

A later version may know other states, failures and rules than this one: such a word is kept, and decides nothing here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

from pydantic import ConfigDict, Field, JsonValue

from trainshed.errors import FailureKind
from trainshed.record.facts import Facts, Number, Settings
from trainshed.record.names import TrialName


class TrialState(StrEnum):
    """Where a trial is; what a trial's figure is worth depends on it."""

    RUNNING = "running"
    ENDED = "ended"
    """It came to its own end."""
    EARLY = "stopped early"
    """A rule of the sweep ended it."""
    FAILED = "failed"
    CUT = "cut off"
    """The sweep ended before the trial did: at a limit of its budget, or asked to."""


class EndedBy(StrEnum):
    """The rule that ended a trial before its last step: `stop_early.kind` of the sweep, or the training's own."""

    ITSELF = "early_stopping"
    ASHA = "asha"
    HYPERBAND = "hyperband"
    MEDIAN = "median"
    PBT = "pbt"
    PB2 = "pb2"
    NONE = "none"


State: TypeAlias = Annotated[TrialState | str, Field(union_mode="left_to_right")]
Kind: TypeAlias = Annotated[FailureKind | str, Field(union_mode="left_to_right")]
Rule: TypeAlias = Annotated[EndedBy | str, Field(union_mode="left_to_right")]


class EarlyStopping(Facts):
    """Whether a training exports its best step; see `record.ranking`."""

    restore_best: bool


class Regularization(Facts):
    """What a trial's figure depends on."""

    early_stopping: EarlyStopping | None = None


class TrialTraining(Facts):
    """The training of a trial, as far as it is read here; the rest is the business of `spec`."""

    regularization: Regularization | None = None

    @property
    def exports_best(self) -> bool:
        """Whether it exports the weights of its best step; see `Training.exports_best`."""
        policy = self.regularization and self.regularization.early_stopping
        return bool(policy and policy.restore_best)


class TakenOver(Facts):
    """A member of a population went on from another's weights at a step, with these settings."""

    model_config = ConfigDict(populate_by_name=True)

    source: str = Field(validation_alias="from", serialization_alias="from")
    step: int
    settings: Settings


class Taken(Facts):
    """What a member of a population notes in trial.json of the weights that it has taken over."""

    first_settings: Settings | None = None
    """What the weights began with; sweeps of an earlier version did not note it."""
    took_over: tuple[TakenOver, ...] = ()
    """What came later, in order."""


class TrialFacts(Taken):
    """trial.json."""

    settings: Settings
    training: TrialTraining | None = None
    began_at: str | None = None

    @property
    def exports_best(self) -> bool:
        """Whether the training exports the weights of its best step."""
        return self.training is not None and self.training.exports_best


class TrialEnd(Facts):
    """ended.json."""

    state: State
    ended_at: str | None = None
    kind: Kind | None = None
    cause: str | None = None
    by: Rule | None = None
    device_s: float | None = None

    @property
    def failure(self) -> FailureKind | None:
        """What failed: `unknown` where it has no kind, or one of another version; None where nothing did."""
        if self.state != TrialState.FAILED:
            return None
        return self.kind if isinstance(self.kind, FailureKind) else FailureKind.UNKNOWN


class TrialResult(Facts):
    """One trial in the result of its sweep: what it was given, what it measured, how it ended and why."""

    trial: TrialName
    settings: Settings
    history: tuple[tuple[Number, Number | None], ...] = ()
    """Step and metric of each look at it."""
    value: Number | None = None
    """What it counts by; None where it failed or measured nothing."""
    state: State = ""
    cause: str | None = None
    kind: Kind | None = None
    by: Rule | None = None
    began_at: str | None = None
    ended_at: str | None = None
    device_s: float | None = None
    took_over: tuple[TakenOver, ...] = ()

    @property
    def step(self) -> Number:
        """The last step that it was looked at."""
        return self.history[-1][0] if self.history else 0


class BestTrial(TrialResult):
    """The best one, with its whole training as JSON: that is the business of `spec`, which may have changed since."""

    training: dict[str, JsonValue]
