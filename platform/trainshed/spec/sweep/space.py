"""What a sweep searches: dotted paths into a training, each with a range, some only where another setting allows it.

`draw` is the one place that knows the order in which settings are drawn; who draws (a random number, a sampler that has
learnt from earlier trials, the next point of a grid) is the caller's. Pure: knows no library of any search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import NormalDist
from typing import Annotated, Any

from pydantic import Discriminator, Field, JsonValue, Tag, model_validator

from trainshed.spec.document.override import override
from trainshed.spec.document.part import Count, Part, Positive
from trainshed.spec.training.train import Training

TINY = 1e-12
Bounds = tuple[float, float]
When = dict[str, JsonValue]


class Uniform(Part):
    """Any number between the bounds, all equally likely; with `step` only every so many-th."""

    uniform: Bounds
    step: Positive | None = None
    """Numbers are low, low + step, ... up to high."""
    when: When = Field(default={})
    """Only where the training has these values: path to one value, or to a list of them."""

    @model_validator(mode="after")
    def _ordered(self) -> Uniform:
        _check_bounds("uniform", self.uniform)
        return self


class LogUniform(Part):
    """Any number between the bounds, every factor equally likely."""

    log_uniform: Bounds
    when: When = Field(default={})
    """Only where the training has these values: path to one value, or to a list of them."""

    @model_validator(mode="after")
    def _ordered(self) -> LogUniform:
        _check_bounds("log_uniform", self.log_uniform)
        if self.log_uniform[0] <= 0:
            raise ValueError(f"log_uniform needs bounds above 0, got {self.log_uniform[0]}")
        return self


class Integer(Part):
    """A whole number from low to high, both included."""

    integer: tuple[int, int]
    step: Count = 1
    log: bool = False
    """Every factor equally likely, rather than every number."""
    when: When = Field(default={})
    """Only where the training has these values: path to one value, or to a list of them."""

    @model_validator(mode="after")
    def _ordered(self) -> Integer:
        _check_bounds("integer", self.integer)
        if self.log and (self.integer[0] < 1 or self.step != 1):
            raise ValueError("integer with log: true needs bounds above 0 and step 1")
        return self


class Normal(Part):
    """A number around a mean: `normal: [mean, deviation]`, drawn from what of the bell lies `within` the bounds."""

    normal: tuple[float, Positive]
    within: Bounds
    when: When = Field(default={})
    """Only where the training has these values: path to one value, or to a list of them."""

    @model_validator(mode="after")
    def _ordered(self) -> Normal:
        _check_bounds("within", self.within)
        return self

    def at_share(self, share: float) -> float:
        """The value that `share` of the mass between the bounds lies below."""
        bell = NormalDist(*self.normal)
        (low, high) = self.within
        below = bell.cdf(low) + share * (bell.cdf(high) - bell.cdf(low))
        return min(high, max(low, bell.inv_cdf(min(1 - TINY, max(TINY, below)))))

    def share_of(self, value: float) -> float:
        """How much of the mass between the bounds lies below a value."""
        bell = NormalDist(*self.normal)
        (low, high) = self.within
        return (bell.cdf(value) - bell.cdf(low)) / (bell.cdf(high) - bell.cdf(low))


class Choice(Part):
    """One of the values listed; a value may be a whole part, such as a schedule with its fields."""

    choice: Annotated[tuple[JsonValue, ...], Field(min_length=1)]
    when: When = Field(default={})
    """Only where the training has these values: path to one value, or to a list of them."""


def _range_tag(value: Any) -> str | None:
    keys: Iterable[str] = type(value).model_fields if isinstance(value, Part) else ()
    if isinstance(value, dict):
        keys = value.keys()
    return next((key for key in ("uniform", "log_uniform", "integer", "normal", "choice") if key in keys), None)


Range = Annotated[
    Annotated[Uniform, Tag("uniform")]
    | Annotated[LogUniform, Tag("log_uniform")]
    | Annotated[Integer, Tag("integer")]
    | Annotated[Normal, Tag("normal")]
    | Annotated[Choice, Tag("choice")],
    Discriminator(
        _range_tag,
        custom_error_type="range",
        custom_error_message="a range is {uniform: [low, high]}, {log_uniform: [low, high]}, {integer: [low, high]}, "
        "{normal: [mean, deviation], within: [low, high]} or {choice: [a, b]}",
    ),
]
Space = Annotated[dict[str, Range], Field(min_length=1)]


def draw(
    space: Mapping[str, Range], training: Training, pick: Callable[[str, Range], JsonValue]
) -> tuple[dict[str, JsonValue], Training]:
    """The settings of one trial, and the training with them: first what stands alone, then what hangs on others.

    Raises:
        SpecError: the settings cannot stand together.
    """
    settings = {path: pick(path, values) for path, values in space.items() if not values.when}
    current = override(training, settings, file="space")
    for path, values in space.items():
        if values.when and holds(values.when, current):
            settings[path] = pick(path, values)
            current = override(training, settings, file="space")
    return settings, current


def holds(when: When, training: Training) -> bool:
    """Whether a training has the values of a condition."""
    data = training.model_dump(mode="json", by_alias=True)
    return all(
        value_at(data, path) in (wanted if isinstance(wanted, list) else [wanted]) for path, wanted in when.items()
    )


def value_at(data: Any, path: str) -> Any:
    """What stands at a dotted path; None where nothing does."""
    for key in path.split("."):
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def ends(values: Range) -> tuple[JsonValue, ...]:
    """Values to try before anything runs: the ends of a range, every value of a choice."""
    match values:
        case Uniform():
            return values.uniform
        case LogUniform():
            return values.log_uniform
        case Integer():
            return values.integer
        case Normal():
            return values.within
        case Choice():
            return values.choice


def _check_bounds(kind: str, bounds: Bounds) -> None:
    if bounds[0] >= bounds[1]:
        raise ValueError(f"{kind} is [low, high] with low under high, got [{bounds[0]}, {bounds[1]}]")
