"""What is kept of a sweep: each trial's story, and which one was the best."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from trainshed.errors import PlatformError
from trainshed.record.ranking import figure_of, rank_of
from trainshed.record.run import Record
from trainshed.record.trials import CUT, FAILED, FIRST, OWN_STOP, TrialFiles, is_measured
from trainshed.spec.document.override import override
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.changes import Change
from trainshed.spec.training.points import points_of
from trainshed.spec.training.train import Training


def story(job: TuneJob, trial: TrialFiles) -> dict[str, Any]:
    """One trial: settings, `history` of the metric as `[step, value]`, what it counts by, how it ended and why."""
    facts, ended = trial.facts or {}, trial.ended or {"state": CUT}
    rows, failed = trial.held_out(), ended["state"] == FAILED
    history = [(row["step"], row[job.metric]) for row in rows if job.metric in row]
    figure = figure_of(facts, rows)
    return {
        "trial": trial.name,
        "settings": facts.get("settings", {}),
        "history": history,
        "value": None if failed else figure.get(job.metric),
        "state": ended["state"],
        "cause": ended.get("cause"),
        "kind": ended.get("kind"),
        "by": ended.get("by"),
        "began_at": facts.get("began_at"),
        "ended_at": ended.get("ended_at"),
        "device_s": ended.get("device_s"),
        "took_over": facts.get("took_over", []),
    }


def came_to(job: TuneJob, trial: TrialFiles) -> float | None:
    """The figure of a trial that is whole, or ended by its own early stopping: there is nothing to be guessed at.

    None: a rule of the sweep ended it, or it has no figure.
    """
    rows = trial.held_out()
    itself = (trial.ended or {}).get("by") == OWN_STOP
    if not rows or (rows[-1]["step"] < job.steps_of_a_trial and not itself):
        return None
    value = figure_of(trial.facts or {}, rows).get(job.metric)
    return value if is_measured(value) else None


def training_of(job: TuneJob, trial: TrialFiles, data: Mapping[str, Record]) -> dict[str, Any]:
    """The trial's whole training as JSON, which reads the very data that the trial has read.

    A population's best changes its settings where it took over others' weights.
    """
    facts = trial.facts or {}
    training = Training.model_validate_json(json.dumps(facts["training"]), strict=True)
    if job.is_population:
        training = _as_it_went(job, training, facts, trial)
    made_on = f"run://{data[training.data].run_id}"
    return training.model_copy(update={"data": made_on}).model_dump(mode="json")


def _as_it_went(job: TuneJob, training: Training, facts: dict[str, Any], trial: TrialFiles) -> Training:
    """A member's training from its very beginning: with what its weights began with, and every change since."""
    training = training.model_copy(update={"checkpoint": job.train.checkpoint})
    taken = facts.get("took_over", [])
    if not taken:
        return training
    if FIRST in facts:
        changes = tuple(Change(step=one["step"], settings=one["settings"]) for one in taken)
        return override(training, facts[FIRST]).model_copy(update={"changes": changes})
    # A sweep of an earlier version did not note how it began: its rates say it, of other settings the last ones stand.
    peak, schedule = points_of([float(row["learning_rate"]) for row in trial.rows()])
    optimizer = training.optimizer.model_copy(update={"learning_rate": peak})
    return training.model_copy(update={"optimizer": optimizer, "schedule": schedule})


def best_of(job: TuneJob, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """The trial with the best metric, of those that came to their end before those that were cut off.

    Raises:
        PlatformError: no trial came to a metric; the message is the commonest cause.
    """
    with_value = [trial for trial in trials if is_measured(trial["value"])]
    if not with_value:
        causes = Counter(str(trial["cause"] or f"it was {trial['state']} before it reported") for trial in trials)
        cause, count = causes.most_common(1)[0] if causes else ("there was none", 0)
        raise PlatformError(f"no trial came to a metric; {count} of {len(trials)} failed with: {cause}")
    return min(with_value, key=lambda trial: rank_of(job, trial["state"], trial["value"]))
