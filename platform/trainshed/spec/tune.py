"""What a sweep may say: a training, a space of dotted paths into it, how it is searched and stopped."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, JsonValue, Tag, model_validator

from trainshed.spec.part import Count, Name, Part
from trainshed.spec.train import Training

Bounds = tuple[float, float]


class Uniform(Part):
    """Any number between the bounds, all equally likely."""

    uniform: Bounds

    @model_validator(mode="after")
    def _ordered(self) -> Uniform:
        _check_bounds("uniform", self.uniform)
        return self


class LogUniform(Part):
    """Any number between the bounds, every factor equally likely."""

    log_uniform: Bounds

    @model_validator(mode="after")
    def _ordered(self) -> LogUniform:
        _check_bounds("log_uniform", self.log_uniform)
        if self.log_uniform[0] <= 0:
            raise ValueError(f"log_uniform needs bounds above 0, got {self.log_uniform[0]}")
        return self


class Choice(Part):
    """One of the values listed."""

    choice: Annotated[tuple[JsonValue, ...], Field(min_length=1)]


def _range_tag(value: Any) -> str | None:
    keys = value.keys() if isinstance(value, dict) else type(value).model_fields if isinstance(value, Part) else ()
    return next((key for key in ("uniform", "log_uniform", "choice") if key in keys), None)


Range = Annotated[
    Annotated[Uniform, Tag("uniform")] | Annotated[LogUniform, Tag("log_uniform")] | Annotated[Choice, Tag("choice")],
    Discriminator(
        _range_tag,
        custom_error_type="range",
        custom_error_message="a range is {uniform: [low, high]}, {log_uniform: [low, high]} or {choice: [a, b]}",
    ),
]


class RandomSearch(Part):
    """Every trial is drawn on its own (Bergstra and Bengio 2012)."""

    kind: Literal["random"] = "random"
    trials: Count
    concurrent: Count = 1
    """Trials that run at the same time, where the cluster has room."""
    seed: int = 0


class NoStop(Part):
    """Every trial runs to its end."""

    kind: Literal["none"] = "none"


class Asha(Part):
    """Asynchronous successive halving: the worse trials end early (arXiv 1810.05934)."""

    kind: Literal["asha"] = "asha"
    grace_steps: Count
    """No trial ends before this many optimizer steps."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """One of so many trials goes on at each rung."""


StopEarly = Annotated[NoStop | Asha, Field(discriminator="kind")]


class TuneJob(Part):
    """A search over trainings for the lowest metric."""

    kind: Literal["tune"]
    name: Name
    train: Training
    space: Annotated[dict[str, Range], Field(min_length=1)]
    """Dotted path into `train`: range."""
    search: RandomSearch
    stop_early: StopEarly = NoStop()
    metric: Literal["validation_loss", "train_loss"] = "validation_loss"
    goal: Literal["minimize"] = "minimize"

    @model_validator(mode="after")
    def _trials_are_of_one_size(self) -> TuneJob:
        if isinstance(self.train.workers.count, tuple):
            raise ValueError("train.workers.count must be one number in a sweep: trials of other sizes do not compare")
        return self

    @model_validator(mode="after")
    def _first_rung_is_reached(self) -> TuneJob:
        if isinstance(self.stop_early, Asha) and self.stop_early.grace_steps >= self.train.steps:
            raise ValueError(
                f"stop_early.grace_steps must be under train.steps: {self.stop_early.grace_steps} "
                f"is not under {self.train.steps}"
            )
        return self


def _check_bounds(kind: str, bounds: Bounds) -> None:
    if bounds[0] >= bounds[1]:
        raise ValueError(f"{kind} is [low, high] with low under high, got [{bounds[0]}, {bounds[1]}]")
