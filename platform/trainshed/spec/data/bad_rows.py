"""What happens to a row that cannot be read as what the job says it is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainshed.spec.document.part import Count, Part


class Refuse(Part):
    """The job fails and names the first bad rows with file and line."""

    kind: Literal["refuse"] = "refuse"


class Skip(Part):
    """Bad rows are left out and counted; what each one was stands in `bad_rows.jsonl` beside the data."""

    kind: Literal["skip"] = "skip"
    limit: Count = 100
    """More bad rows than this, and the job fails."""


BadRows = Annotated[Refuse | Skip, Field(discriminator="kind")]
