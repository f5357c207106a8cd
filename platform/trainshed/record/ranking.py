"""By which figure a trial counts, and which of two trials is the better one.

The sweep, its report and the command line ask here, so that they name the same best trial. Knows rows and states, no
files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from trainshed.record.checkpoints import METRIC
from trainshed.record.facts import is_measured
from trainshed.record.metric_rows import MetricRow
from trainshed.record.trial_facts import TrialFacts, TrialState
from trainshed.spec.sweep.tune import TuneJob

Rank = tuple[bool, bool, float]


def figure_of(facts: TrialFacts | None, rows: Sequence[MetricRow]) -> MetricRow | None:
    """The held-out row by which a trial is ranked; None where there is none.

    The last one; where the training exports its best step, the row of that step: of equal losses the newest. Folds
    report the mean over their best steps already; see `runtime.tuning.folds`.
    """
    if not rows:
        return None
    measured = [(value, row) for row in rows if (value := row.measured(METRIC)) is not None]
    exports_best = facts is not None and facts.exports_best
    if not exports_best or not measured or "fold" in rows[-1].values:
        return rows[-1]
    lowest = min(value for value, _ in measured)
    return next(row for value, row in reversed(measured) if value == lowest)


def rank_of(job: TuneJob, state: str, value: float | None) -> Rank:
    """Sorts trials, the best first: those with a figure, of these those that were not cut off, of these by the figure.

    With `best_among: all` the figure alone counts.
    """
    if not is_measured(value) or value is None:
        return True, False, math.inf
    cut_off = job.best_among == "finished" and state in (TrialState.EARLY, TrialState.CUT)
    return False, cut_off, value if job.mode == "min" else -value
