"""Which trials of a sweep end early, and what a sweep may use up."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainshed.spec.document.part import Count, NonNegative, Part, Positive


class NoStop(Part):
    """Every trial runs to its end."""

    kind: Literal["none"] = "none"


class Asha(Part):
    """Asynchronous successive halving: the worse trials end early (arXiv 1810.05934)."""

    kind: Literal["asha"] = "asha"
    grace_steps: Count
    """No trial ends before this many optimizer steps; a quarter of them keeps schedules that pay off late."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """One of so many trials goes on at each rung."""


class Median(Part):
    """A trial ends where its best is worse than the median of the others' means so far (Vizier, KDD 2017)."""

    kind: Literal["median"] = "median"
    grace_steps: Count
    """No trial ends before this many optimizer steps."""
    min_trials: Annotated[int, Field(ge=2)] = 3
    """So many others must have come as far."""


class Hyperband(Part):
    """Brackets of successive halving, which differ in how soon they end trials (arXiv 1603.06560), asynchronous."""

    kind: Literal["hyperband"] = "hyperband"
    grace_steps: Count
    """The soonest bracket ends no trial before this many optimizer steps."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """One of so many trials goes on at each rung."""
    brackets: Annotated[int, Field(ge=2)] = 3


class Pbt(Part):
    """Population based training: a bad trial goes on from a good one's weights, with changed settings (1711.09846)."""

    kind: Literal["pbt"] = "pbt"
    interval_steps: Count
    """Optimizer steps between two looks at the population."""
    quantile: Annotated[float, Field(gt=0.0, le=0.5)] = 0.25
    """So much of the population, at the bottom, is replaced by as much from the top."""
    resample: Annotated[float, Field(ge=0.0, le=1.0)] = 0.25
    """How often a setting is drawn anew; else it is multiplied by 0.8 or 1.2, or goes to a neighbour of a choice."""


class Pb2(Part):
    """Population-based training whose changes a Gaussian process bandit chooses (arXiv 2002.02518); numbers only.

    It begins at the second look: it learns from what members gained since the first.
    """

    kind: Literal["pb2"] = "pb2"
    interval_steps: Count
    """Optimizer steps between two looks at the population."""
    quantile: Annotated[float, Field(gt=0.0, le=0.5)] = 0.25
    """So much of the population, at the bottom, is replaced by as much from the top."""


StopEarly = Annotated[NoStop | Asha | Median | Hyperband | Pbt | Pb2, Field(discriminator="kind")]


class Budget(Part):
    """What a sweep may use up; at the first limit it ends, keeps the best so far, and says so (exit code 5)."""

    hours: Positive | None = None
    """Of wall time."""
    device_hours: Positive | None = None
    """GPU-hours over all trials; hours of CPU workers where there are no GPUs."""
    money: Positive | None = None
    """In the currency of `price`."""
    price: NonNegative | None = None
    """Of one device for one hour; a cluster profile has it too (`--profile`), and this one wins."""
    currency: str | None = None
    """Of `money` and `price`, such as USD."""
    price_from: str | None = None
    """Where `price` is from."""

    @model_validator(mode="after")
    def _money_has_a_price(self) -> Budget:
        if self.money is not None and self.price == 0:
            raise ValueError("money needs a price above 0: what one device costs for one hour")
        return self

    def cost(self, device_hours: float) -> float | None:
        """What so many device-hours cost; None without a price."""
        return None if self.price is None else self.price * device_hours

    def money_text(self, amount: float) -> str:
        """`1.25 USD`."""
        return f"{amount:.2f} {self.currency or ''}".rstrip()


class Failures(Part):
    """What becomes of trials that fail, by what failed."""

    memory_retries: Annotated[int, Field(ge=0)] = 2
    """A trial out of memory is tried again with half the per-device batch and the same global batch, so many times."""
    code_errors: Count = 3
    """After so many trials with an error of the code or the job the sweep ends; what is lost to machines counts not."""
