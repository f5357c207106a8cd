"""The format that rows have, by the first of them; and what is said in them, for a tokenizer that is trained."""

from __future__ import annotations

from collections.abc import Iterator

from trainshed.errors import PlatformError
from trainshed.runtime.data.found import Found
from trainshed.runtime.data.reader import first_row
from trainshed.spec.data.conversations import Conversation, Preference
from trainshed.spec.data.formats import KEYS, format_of
from trainshed.spec.data.prepare import PrepareJob


def with_format(job: PrepareJob, found: Found) -> PrepareJob:
    """The job with the format of the first row in place of auto.

    Raises:
        PlatformError: there is no row, or its keys are those of no format.
    """
    row = first_row(job, found)
    if row is None:
        raise PlatformError("format: auto: there is no row to look at; say the format")
    name = format_of(row.fields)
    if name is None:
        known = "; ".join(f"{name}: {' and '.join(keys)}" for name, keys in KEYS.items())
        raise PlatformError(
            f"{row.origin}: format: auto knows no rows with {', '.join(map(str, row.fields))}; known are {known}"
        )
    said = job.model_dump(by_alias=True) | {"format": name}
    return PrepareJob.model_validate(said)


def said_in(field: str, value: str) -> Iterator[str]:
    """The texts of one field of a sample."""
    match field:
        case "messages":
            yield from Conversation.from_json(value).texts
        case "preference":
            one = Preference.from_json(value)
            yield from (str(turn["content"]) for turn in (*one.prompt, *one.chosen, *one.rejected))
        case _:
            yield value
