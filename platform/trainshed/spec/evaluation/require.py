"""The gate of an evaluation: a bound for each metric that counts, and how far a model may be behind another one.

`require: {accuracy: ">= 0.9", against: NAME@production, within: 0.01}`. Does not know what is reported: `judge` of the
cluster compares, `metrics_misfit` says earlier which metrics there cannot be.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, model_validator

from trainshed.spec.document.locations import ModelRef
from trainshed.spec.document.part import NonNegative, Part, like
from trainshed.spec.document.walk import nearest
from trainshed.spec.evaluation.bounds import Bound, bound_of

OWN_KEYS = ("against", "within")


def _parses(text: str) -> str:
    bound_of(text)
    return text


BoundText = Annotated[str, AfterValidator(_parses)]
"""A sign and a number: `>= 0.9`."""

MetricName = Annotated[
    str, like(r"^[a-z][a-z0-9_]{0,63}$", "a metric is one word of lower case letters, digits and underscores")
]


class Require(Part):
    """Bounds of metrics by their names, beside these keys."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[MetricName, BoundText]

    against: ModelRef | None = None
    """Another model that is evaluated on the same samples, like NAME@production."""
    within: NonNegative = 0.0
    """How much worse than `against` each metric may be; better is always allowed."""

    @model_validator(mode="after")
    def _bounds_something(self) -> Require:
        if not self.__pydantic_extra__:
            raise ValueError('a gate needs a metric with its bound, like accuracy: ">= 0.9"')
        if self.against is None and self.within:
            raise ValueError("within: it is the distance to another model; say which with against: NAME@production")
        return self

    @property
    def bounds(self) -> Mapping[str, Bound]:
        """The bound of each metric, in the order of the document."""
        return {name: bound_of(text) for name, text in self.__pydantic_extra__.items()}

    def metrics_misfit(self, reported: Collection[str]) -> tuple[str, str] | None:
        """The first metric that is not among those reported, and one line."""
        for name in self.__pydantic_extra__:
            if name not in reported:
                return name, f"this evaluation reports no {name}; {nearest(name, reported)}"
        return None
