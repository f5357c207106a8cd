"""What a later job builds on: the data of a prepare run, the best trial of a sweep."""

from __future__ import annotations

from trainshed.errors import UsageError
from trainshed.record.results import PrepareResult, SweepResult
from trainshed.record.run import Record
from trainshed.record.trial_facts import BestTrial


def prepared(run: Record) -> PrepareResult:
    """What a prepare run came to.

    Raises:
        UsageError: it came to nothing, or its result is gone.
    """
    outcome = run.outcome
    if not isinstance(outcome, PrepareResult):
        raise UsageError(f"run://{run.run_id}: its data is not there any more; submit the job again")
    return outcome


def samples_of(run: Record) -> int:
    """How many training samples a prepare run has made. Raises as `prepared`."""
    return prepared(run).manifest.splits["train"].samples


def best_trial(run: Record) -> BestTrial:
    """The best trial of a sweep.

    Raises:
        UsageError: it has none, or its result is gone.
    """
    outcome = run.outcome
    if not isinstance(outcome, SweepResult) or outcome.best is None:
        raise UsageError(f"run://{run.run_id}: it has no best trial; run the sweep again")
    return outcome.best


def fingerprint_of(run: Record) -> str | None:
    """The fingerprint of the data that a prepare run made; None where it made nothing."""
    made = run.outcome
    return made.manifest.fingerprint if isinstance(made, PrepareResult) else None
