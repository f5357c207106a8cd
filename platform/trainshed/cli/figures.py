"""A trial's figure in a table, and why trials failed beneath it: a cause is a sentence, and no column is so wide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

MOST_CAUSES = 5


def figure(trial: dict[str, Any]) -> str:
    """The value by four digits, or the kind of failure in a word; empty where there is neither yet."""
    if trial["value"] is not None:
        return f"{trial['value']:.4f}"
    return str(trial.get("kind") or "?") if trial["cause"] else ""


def cause_lines(trials: Sequence[dict[str, Any]]) -> list[str]:
    """`2 x diverged: step 7: the loss is nan`: each cause once, the commonest first, and how many more there are."""
    causes = Counter((str(one.get("kind") or "?"), str(one["cause"])) for one in trials if one["cause"]).most_common()
    lines = [f"{count} x {kind}: {cause}" for (kind, cause), count in causes[:MOST_CAUSES]]
    return [*lines, f"and {len(causes) - MOST_CAUSES} other causes"] if len(causes) > MOST_CAUSES else lines
