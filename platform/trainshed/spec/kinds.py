"""The kinds of job by what others may ask of their runs. Knows names alone, and costs a verb nothing."""

from __future__ import annotations

MAKE_DATA = ("prepare", "reference")
"""Their runs are what trainings read."""
GO_ON = ("train", "tune", "reference", "evaluate")
"""They save what is done when they are asked to end, and go on from there."""


def is_wanted(kind: str, wants: str) -> bool:
    """Whether a run of this kind is what a reference wants: a prepare job stands for all that makes data."""
    return kind in MAKE_DATA if wants == "prepare" else kind == wants


def with_article(kind: str) -> str:
    """A kind of job in a sentence: a train, an evaluate."""
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
