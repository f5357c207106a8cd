"""What a later job builds on: the data of a prepare run, the best trial of a sweep."""

from __future__ import annotations

from pydantic import ValidationError

from trainshed.errors import DamagedFile, UsageError
from trainshed.record.facts import parse_facts, said_of
from trainshed.record.results import PrepareResult, SweepResult
from trainshed.record.run import Record
from trainshed.record.trial_facts import BestTrial
from trainshed.spec.job import Job
from trainshed.spec.kinds import with_article
from trainshed.spec.load import job_from_data
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.registration import Registration
from trainshed.spec.training.train import Training, TrainJob


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


def trained_by(run: Record) -> Training:
    """The training whose export a run holds: a training's own, or that of a sweep's best trial.

    Raises:
        UsageError: it is no run that trains, or a sweep without a best trial.
        DamagedFile: its job is none that this version reads.
    """
    job = _job_of(run)
    match job:
        case TrainJob():
            return job.training
        case TuneJob():
            return parse_facts(best_trial(run).training, Training, run.storage.address(run.at("job.json")))
        case _:
            raise UsageError(f"run://{run.run_id} is {with_article(job.kind)} run; a train run is needed here")


def waits_for(run: Record, gate: str) -> str | None:
    """The model name under which a training wants to be registered by this gate; None where it asks for none.

    Raises:
        DamagedFile: its job is none that this version reads.
    """
    registered = getattr(_job_of(run), "register_as", None)
    return registered.name if isinstance(registered, Registration) and registered.gate == gate else None


def fingerprint_of(run: Record) -> str | None:
    """The fingerprint of the data that a prepare run made; None where it made nothing."""
    made = run.outcome
    return made.manifest.fingerprint if isinstance(made, PrepareResult) else None


def _job_of(run: Record) -> Job:
    try:
        return job_from_data(run.job["job"])
    except ValidationError as error:
        place = run.storage.address(run.at("job.json"))
        raise DamagedFile(f"{place}: job: {said_of(error)}") from None
