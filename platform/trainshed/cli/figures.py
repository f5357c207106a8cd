"""A trial's figure in a table, and why trials failed beneath it: a cause is a sentence, and no column is so wide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

MOST_CAUSES = 5


class Figured(Protocol):
    """A trial as a table needs it."""

    @property
    def value(self) -> float | None:
        """The value by which a trial is ranked."""

    @property
    def kind(self) -> str | None:
        """What failed, in a word."""

    @property
    def cause(self) -> str | None:
        """Why it failed, in a sentence."""


def figure(trial: Figured) -> str:
    """The value by four digits, or the kind of failure in a word; empty where there is neither yet."""
    if trial.value is not None:
        return f"{trial.value:.4f}"
    return trial.kind or "?" if trial.cause else ""


def cause_lines(trials: Sequence[Figured]) -> list[str]:
    """`2 x diverged: step 7: the loss is nan`: each cause once, the commonest first, and how many more there are."""
    causes = Counter((one.kind or "?", one.cause) for one in trials if one.cause).most_common()
    lines = [f"{count} x {kind}: {cause}" for (kind, cause), count in causes[:MOST_CAUSES]]
    return [*lines, f"and {len(causes) - MOST_CAUSES} other causes"] if len(causes) > MOST_CAUSES else lines
