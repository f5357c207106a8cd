"""Are trainings over several data sets compared on the same held-out samples? By what is known of prepared data.

Pure. The hashes of a split's shards say what a model sees of it: tokens, pixels, labels as numbers. What those numbers
stand for is the tokenizer's and the list of labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MEANING = {
    "form": "form",
    "has": "fields",
    "tokenizer_sha256": "tokenizer",
    "block_size": "block size",
    "label_kind": "kind of labels",
    "labels": "labels",
    "image": "size of images",
}
"""Fields of `Measured` that say what the numbers in a shard stand for, and their words."""


@dataclass(frozen=True)
class Measured:
    """The held-out data on which figures of a training are measured."""

    form: str
    has: tuple[str, ...]
    tokenizer_sha256: str | None
    block_size: int | None
    label_kind: str | None
    labels: tuple[str, ...]
    image: tuple[int, int] | None
    held_out: tuple[str, ...]
    """The SHA-256 of each shard of the validation split."""


def difference(data: Mapping[str, Measured]) -> str | None:
    """Why figures of trainings over these data sets, by reference, do not compare; None: they do."""
    (first, base), *others = data.items()
    for reference, other in others:
        for field, words in MEANING.items():
            if getattr(other, field) != getattr(base, field):
                return f"{first} and {reference} do not compare: they differ in their {words}"
        if other.held_out != base.held_out:
            return (
                f"{first} and {reference} do not compare: other samples are held out; give both the same "
                "source.validation, and a tokenizer that is not trained on the data"
            )
    return None
