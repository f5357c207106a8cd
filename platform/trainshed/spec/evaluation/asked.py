"""What each worker is told of an evaluation, beside the model and the data: plain numbers, settled by the driver."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trainshed.spec.document.locations import ModelRef
from trainshed.spec.document.part import Count, Part
from trainshed.spec.evaluation.evaluate import Split


class Asked(Part):
    """The samples that are measured, and those that are answered."""

    model: ModelRef
    """What the job calls the model; the key of its origin."""
    split: Split
    samples: Count
    """The first so many of the split."""
    answered: Annotated[int, Field(ge=0)] = 0
    """The first so many have their answers generated."""
    answers_at_once: Count = 16
    max_new_tokens: Count | None = None
    """Tokens of an answer; as many as the longest of the data has where it is not given."""
