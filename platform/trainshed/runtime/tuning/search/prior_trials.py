"""What a search knows before its first trial: trials of earlier sweeps whose figures say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from trainshed.record.built_on import fingerprint_of
from trainshed.record.events import Log, Sink
from trainshed.record.facts import is_measured
from trainshed.record.index import Index
from trainshed.record.learning import why_nothing_is_taken
from trainshed.record.results import SweepResult
from trainshed.record.run import Record
from trainshed.record.trial_facts import TrialState
from trainshed.spec.sweep.space_check import fits
from trainshed.spec.sweep.tune import TuneJob

Known = list[tuple[dict[str, JsonValue], float]]


def known_before(job: TuneJob, data: Mapping[str, Record], earlier: Sequence[Record], *, sink: Sink) -> Known:
    """Settings and figures of whole trials that lie in the space. Of a sweep on another metric, goal, model, data or
    number of steps none is taken, and `sink` hears why."""
    known: Known = []
    here = {reference: fingerprint_of(run) or "" for reference, run in data.items()}
    for sweep in earlier:
        if (why_not := why_nothing_is_taken(job, here, sweep, Index(sweep.storage))) is not None:
            sink(Log(message=f"learn_from: nothing of {sweep.run_id} is taken: {why_not}"))
            continue
        outcome = sweep.outcome
        taken = [
            (trial.settings, float(trial.value))
            for trial in (outcome.trials if isinstance(outcome, SweepResult) else ())
            if trial.value is not None and is_measured(trial.value)
            if trial.state == TrialState.ENDED and fits(job.space, trial.settings)
        ]
        sink(Log(message=f"learn_from: {len(taken)} trials of {sweep.run_id} are taken"))
        known += taken
    return known
