"""Has the workers of a training measure a model on the samples of an evaluation, and answer the first of them."""

from __future__ import annotations

from dataclasses import dataclass

from trainshed.errors import PlatformError
from trainshed.record.built_on import trained_by
from trainshed.record.data_form import form_of_manifest
from trainshed.record.results import PrepareResult, WeightsOrigin
from trainshed.record.run import Record
from trainshed.record.weights import tokenizer_misfit
from trainshed.runtime.evaluation.bootstrap import Array
from trainshed.runtime.evaluation.figures import measured
from trainshed.runtime.evaluation.page import Answer
from trainshed.runtime.report import Reporter
from trainshed.runtime.scratch import scratch
from trainshed.runtime.training.ray_train.fit import fit
from trainshed.runtime.training.ray_train.spares import Spares
from trainshed.runtime.training.run import watch_metrics, workers_in_words
from trainshed.runtime.training.scoring.files import AnswerFiles, ScoreFiles
from trainshed.runtime.training.stopped import Stopped
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.spec.evaluation.asked import Asked
from trainshed.spec.evaluation.evaluate import EvaluateJob, Split, generates
from trainshed.spec.evaluation.training import evaluated_as
from trainshed.spec.fitting import misfits
from trainshed.spec.training.train import Training


@dataclass(frozen=True)
class Evaluating:
    """An evaluation that has begun: what every step of it needs."""

    job: EvaluateJob
    reporter: Reporter
    data: Record
    made: PrepareResult
    split: Split
    samples: int


@dataclass(frozen=True)
class Found:
    """What workers found out about one model."""

    training: Training
    columns: dict[str, Array]
    answers: tuple[Answer, ...]


def find_out(run: Evaluating, origin: WeightsOrigin, reference: str, standby: Spares, *, folder: str) -> Found:
    """Has the workers measure one model, which the job calls `reference`; what they write lies in `folder`.

    Raises:
        PlatformError: the model does not go with the data.
        Stopped: it was asked to end; what is measured by then is kept.
    """
    storage = run.reporter.record.storage
    training = _training(run, origin, reference)
    asked = _asked(run, training, reference)
    steps = asked.samples + asked.answered
    training = training.model_copy(update={"steps": steps})  # so that a heartbeat's step is a sample
    plan = WorkerSpec(
        training=training.model_dump(mode="json"),
        storage=storage.uri,
        data=run.made.data,
        folder=folder,
        export=False,
        work="evaluate",
        evaluation=asked.model_dump(mode="json"),
        weights={reference: origin.as_json()},
    )
    run.reporter.log(
        f"evaluate {reference}: {workers_in_words(training)}, {run.samples:,} samples of the {run.split} split, "
        f"{asked.answered:,} answered"
    )
    _measure(run, plan, training, standby)
    with scratch("scores") as copy:
        columns = measured(ScoreFiles(storage, folder), run.split, run.samples, copy)
    answers = AnswerFiles(storage, folder).read() if asked.answered else []
    return Found(training, columns, tuple(Answer(**one) for one in answers))


def forget(run: Evaluating, folder: str) -> None:
    """Takes away what workers wrote, once it is a part of the result."""
    storage = run.reporter.record.storage
    ScoreFiles(storage, folder).delete()
    AnswerFiles(storage, folder).delete()


def _training(run: Evaluating, origin: WeightsOrigin, reference: str) -> Training:
    """What stands for the evaluation. Raises PlatformError where the model does not go with the data."""
    job = run.job
    storage = run.reporter.record.storage
    if why := tokenizer_misfit(storage, origin, run.made, job.data):
        raise PlatformError(f"data: {reference}: {why}")
    training = evaluated_as(job, trained_by(Record(storage, origin.run_id)), reference)
    for key, message in misfits(training, form_of_manifest(run.made.manifest)):
        raise PlatformError(f"data: {reference}: {key}: {message}")
    return training


def _asked(run: Evaluating, training: Training, reference: str) -> Asked:
    form = form_of_manifest(run.made.manifest)
    answers = run.job.answers
    answered = generates(training.task, has=form.has, packed=form.packed)
    return Asked(
        model=reference,
        split=run.split,
        samples=run.samples,
        answered=min(run.samples, answers.max_samples) if answered else 0,
        answers_at_once=answers.batch_size,
        max_new_tokens=answers.max_new_tokens,
    )


def _measure(run: Evaluating, plan: WorkerSpec, training: Training, standby: Spares) -> None:
    """Runs the workers to the end. Raises Stopped where they were asked to end before it."""
    record = run.reporter.record
    with watch_metrics(run.reporter, f"{plan.folder}/metrics.jsonl", training.total_steps, stage="evaluate"):
        fitted = fit(plan, training, sink=run.reporter, stopping=lambda: record.asked_to_stop, standby=standby)
    if fitted.stopped:
        raise Stopped(fitted.last.step, None, what="sample")
