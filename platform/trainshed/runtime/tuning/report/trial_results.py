"""What is kept of a sweep: the result of each trial, and which one was the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from trainshed.errors import PlatformError
from trainshed.record.facts import is_measured
from trainshed.record.ranking import figure_of, rank_of
from trainshed.record.run import Record
from trainshed.record.trial_facts import EndedBy, TrialEnd, TrialFacts, TrialResult, TrialState
from trainshed.record.trials import TrialFiles
from trainshed.spec.document.override import override
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.changes import Change
from trainshed.spec.training.points import points_of
from trainshed.spec.training.train import Training


def trial_result(job: TuneJob, trial: TrialFiles) -> TrialResult:
    """One trial: settings, `history` of the metric as `[step, value]`, what it counts by, how it ended and why."""
    facts = trial.facts or TrialFacts(settings={})
    ended = trial.ended or TrialEnd(state=TrialState.CUT)
    rows = trial.held_out()
    counts = figure_of(facts, rows)
    return TrialResult(
        trial=trial.name,
        settings=facts.settings,
        history=tuple((row.step, row.figure(job.metric)) for row in rows if job.metric in row.values),
        value=None if counts is None or ended.state == TrialState.FAILED else counts.figure(job.metric),
        state=ended.state,
        cause=ended.cause,
        kind=ended.kind,
        by=ended.by,
        began_at=facts.began_at,
        ended_at=ended.ended_at,
        device_s=ended.device_s,
        took_over=facts.took_over,
    )


def came_to(job: TuneJob, trial: TrialFiles) -> float | None:
    """The figure of a trial that is whole, or ended by its own early stopping: there is nothing to be guessed at.

    None: a rule of the sweep ended it, or it has no figure.
    """
    rows = trial.held_out()
    ended = trial.ended
    itself = ended is not None and ended.by == EndedBy.ITSELF
    if not rows or (rows[-1].step < job.steps_of_a_trial and not itself):
        return None
    counts = figure_of(trial.facts, rows)
    return None if counts is None else counts.measured(job.metric)


def training_of(job: TuneJob, trial: TrialFiles, data: Mapping[str, Record]) -> Training:
    """The trial's whole training, which reads the very data that the trial has read.

    A population's best changes its settings where it took over others' weights.
    """
    training = trial.training
    if job.is_population:
        training = _as_it_went(job, training, trial)
    return training.model_copy(update={"data": f"run://{data[training.data].run_id}"})


def _as_it_went(job: TuneJob, training: Training, trial: TrialFiles) -> Training:
    """A member's training from its very beginning: with what its weights began with, and every change since."""
    training = training.model_copy(update={"checkpoint": job.train.checkpoint})
    facts = trial.facts
    if facts is None or not facts.took_over:
        return training
    if facts.first_settings is not None:
        changes = tuple(Change(step=one.step, settings=one.settings) for one in facts.took_over)
        return override(training, facts.first_settings).model_copy(update={"changes": changes})
    # A sweep of an earlier version did not note how it began: its rates say it, of other settings the last ones stand.
    rates = [rate for row in trial.rows() if (rate := row.figure("learning_rate")) is not None]
    peak, schedule = points_of(rates)
    optimizer = training.optimizer.model_copy(update={"learning_rate": peak})
    return training.model_copy(update={"optimizer": optimizer, "schedule": schedule})


def best_of(job: TuneJob, trials: Sequence[TrialResult]) -> TrialResult:
    """The trial with the best metric, of those that came to their end before those that were cut off.

    Raises:
        PlatformError: no trial came to a metric; the message is the commonest cause.
    """
    with_value = [trial for trial in trials if is_measured(trial.value)]
    if not with_value:
        causes = Counter(trial.cause or f"it was {trial.state} before it reported" for trial in trials)
        cause, count = causes.most_common(1)[0] if causes else ("there was none", 0)
        raise PlatformError(f"no trial came to a metric; {count} of {len(trials)} failed with: {cause}")
    return min(with_value, key=lambda trial: rank_of(job, trial.state, trial.value))
