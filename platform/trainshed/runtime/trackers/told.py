"""What a tracker learns of a run or a trial: names, parameters, tags, how it ended. All of it is in the Record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from trainshed.record.facts import EndFacts, RunEnd, is_measured
from trainshed.record.results import SweepResult, TrainResult
from trainshed.record.run import Record
from trainshed.record.trial_facts import TrialEnd, TrialFacts, TrialState
from trainshed.record.trials import TrialFiles
from trainshed.runtime.trackers.tracker import Ending, Head, Outcome, Setting

PREFIX = "trainshed."
"""Of every tag, so that nobody else's has the name."""
OUTCOMES: Mapping[RunEnd, Outcome] = {
    "succeeded": Outcome.FINISHED,
    "budget_reached": Outcome.FINISHED,
    "failed": Outcome.FAILED,
    "stopped": Outcome.KILLED,
    "skipped": Outcome.KILLED,
}


def head_of_run(record: Record) -> Head:
    """The run, with its whole resolved job as parameters."""
    job = record.job["job"]
    said = {key: value for key, value in job.items() if key != "report_to"}
    code = record.facts.code
    tags = {"run": record.run_id, "submission": record.facts.submission_id, "version": code.version}
    if code.git_commit is not None:
        tags["git_commit"] = code.git_commit
    return Head(
        key=record.run_id,
        name=record.run_id,
        kind=record.facts.job.kind,
        params=flat(said),
        tags=_tags(tags),
        group=record.run_id if record.facts.job.kind == "tune" else None,
    )


def head_of_trial(record: Record, trial: TrialFiles, facts: TrialFacts, *, parent: str) -> Head:
    """A trial, with its settings as parameters: of a member of a population those that it began with."""
    return Head(
        key=f"{record.run_id}-{trial.name}",
        name=trial.name,
        kind="trial",
        params=flat(facts.first_settings or facts.settings),
        tags=_tags({"run": record.run_id, "trial": trial.name}),
        group=record.run_id,
        parent=parent,
    )


def ending_of_run(record: Record, end: EndFacts, *, step: int) -> Ending:
    """How a run ended, with what came of it: figures of the test split, the best trial, lineage, a version."""
    tags = {"state": str(end.state)}
    figures: dict[str, float] = {}
    if end.cause is not None:
        tags["cause"] = end.cause
    outcome = record.outcome
    if isinstance(outcome, TrainResult):
        figures = _of_the_test_split(outcome)
        tags |= _known(registered=outcome.registered)
    if isinstance(outcome, SweepResult):
        best = outcome.best
        tags |= _known(registered=outcome.registered, best_trial=None if best is None else best.trial)
        if best is not None and is_measured(best.value):
            figures = {f"best_{outcome.metric}": float(best.value or 0.0)}
            step = int(best.step)
    lineage = record.lineage
    if lineage is not None:
        tags |= _known(lineage=lineage.fingerprint)
    return Ending(OUTCOMES[end.state], step, _seconds(end.ended_at), figures, _tags(tags))


def ending_of_trial(facts: TrialFacts | None, end: TrialEnd | None, *, step: int, time: str | None) -> Ending:
    """How a trial ended; one without an end was cut off with its sweep."""
    state = TrialState.CUT if end is None else end.state
    tags = {"state": str(state)}
    if facts is not None and facts.took_over:  # its parameters are those that it began with
        tags["settings"] = json.dumps(facts.settings)
    if end is not None:
        tags |= _known(cause=end.cause, ended_by=end.by)
    match state:
        case TrialState.ENDED | TrialState.EARLY:
            outcome = Outcome.FINISHED
        case TrialState.FAILED:
            outcome = Outcome.FAILED
        case _:
            outcome = Outcome.KILLED
    return Ending(outcome, step, _seconds(end.ended_at if end is not None else time), {}, _tags(tags))


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Setting]:
    """A document by dotted path; a list is JSON, what is not given is left out."""
    found: dict[str, Setting] = {}
    for key, inner in value.items():
        path = f"{prefix}{key}"
        if isinstance(inner, Mapping):
            found |= flat(inner, f"{path}.")
        elif isinstance(inner, str | int | float):
            found[path] = inner
        elif inner is not None:
            found[path] = json.dumps(inner)
    return found


def _of_the_test_split(outcome: TrainResult) -> dict[str, float]:
    """Taken after the last step, so that they are in no row."""
    named = {name: value for name, value in outcome.metrics.items() if name.startswith("test_")}
    return {
        name: float(value) for name, value in named.items() if isinstance(value, int | float) and is_measured(value)
    }


def _tags(said: Mapping[str, str]) -> dict[str, str]:
    return {f"{PREFIX}{name}": value for name, value in said.items()}


def _known(**said: object) -> dict[str, str]:
    return {name: str(value) for name, value in said.items() if value is not None}


def _seconds(time: str | None) -> float:
    return 0.0 if time is None else datetime.fromisoformat(time).timestamp()
