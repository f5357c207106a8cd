"""The train job as the driver sees it: from the document to a model in the Record, with lineage and a picture."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trainshed.record.built_on import prepared
from trainshed.record.checkpoints import METRIC
from trainshed.record.events import HeldOutMetrics
from trainshed.record.facts import CodeFacts, Number, TrialOrigin
from trainshed.record.metric_rows import MetricRow, read_rows
from trainshed.record.results import TrainResult
from trainshed.record.run import Record
from trainshed.record.weights import Origins
from trainshed.runtime.report import Reporter
from trainshed.runtime.training.notes import NotesReader
from trainshed.runtime.training.ray_train.fit import fit
from trainshed.runtime.training.ray_train.spares import Spares
from trainshed.runtime.training.register import register_model, write_lineage
from trainshed.runtime.training.samples import check_beginning, check_samples
from trainshed.runtime.training.stopped import Stopped
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.spec.training.registration import Registration
from trainshed.spec.training.train import Training, TrainJob

WATCH_S = 0.5


def train_job(
    job: TrainJob,
    reporter: Reporter,
    *,
    data: Record,
    weights: Origins,
    code: CodeFacts,
    trial: TrialOrigin | None,
    standby: Spares,
) -> TrainResult:
    """Trains, exports, registers; returns the result: last metrics, checkpoint, model version, entropy to beat."""
    record = reporter.record
    made = prepared(data)
    training = job.training
    check_samples(training, made.manifest)
    began = check_beginning(training, weights, made, record.storage)
    plan = WorkerSpec(
        training=training.model_dump(mode="json"),
        storage=record.storage.uri,
        data=made.data,
        folder=record.at(),
        export=True,
        weights={reference: origin.as_json() for reference, origin in weights.items()},
    )
    reporter.log(
        f"training {job.name}: {workers_in_words(training)}, {training.engine.name}, "
        f"{training.accumulation} pass(es) per step, {training.total_steps} steps"
    )
    with watch_metrics(reporter, record.at("metrics.jsonl"), training.total_steps):
        fitted = fit(plan, training, sink=reporter, stopping=lambda: record.asked_to_stop, standby=standby)
    if fitted.stopped:
        raise Stopped(fitted.last.step, fitted.checkpoint)
    entropy = made.manifest.splits["validation"].unigram_entropy_nats
    _say_metrics(fitted.last, entropy, reporter)
    from trainshed.runtime.plots import loss_plot  # a second of matplotlib, that the first step need not wait for

    record.storage.write(record.at("loss.png"), loss_plot(record.run_id, record.metrics, unigram_entropy=entropy))
    lineage = write_lineage(job, record, fitted, data=data, weights=began, code=code, trial=trial)
    registered = None
    match job.register_as:
        case str(name):
            registered = register_model(name, reporter, lineage, {METRIC: fitted.last.figure(METRIC)})
        case Registration(name=name, gate=gate):
            reporter.log(f"{job.name} becomes a version of {name} once {gate} has let it pass")
        case None:
            pass
    return TrainResult(
        metrics=dict(fitted.last.values),
        unigram_entropy_nats=entropy,
        checkpoint=fitted.checkpoint,
        model=record.at("model") if training.export.writes_model else None,
        registered=registered,
        export=dict(fitted.export),
    )


def _say_metrics(last: MetricRow, entropy: float | None, reporter: Reporter) -> None:
    """Tell the held-out figures: validation's, with what a model of single tokens could reach, and the test's."""
    for split in ("validation", "test"):
        figures: dict[str, float | None] = {
            name.removeprefix(f"{split}_"): value
            for name, value in last.numbers.items()
            if name.startswith(f"{split}_")
        }
        if figures:
            to_beat = entropy if split == "validation" else None
            reporter(HeldOutMetrics(split=split, figures=figures, unigram_entropy_nats=to_beat))


@contextmanager
def watch_metrics(
    reporter: Reporter, relative: str, steps: int, *, stage: str = "train", **fields: Any
) -> Iterator[None]:
    """While a training runs, its newest metrics become a progress line each `WATCH_S` at most, its notes events."""
    over = threading.Event()

    notes = NotesReader(reporter.record.storage, relative.rsplit("/", 1)[0])

    def watch() -> None:
        said = 0
        while True:
            ended = over.wait(WATCH_S)
            rows = read_rows(reporter.record.storage, relative)
            held_out = [row.figure(METRIC) for row in rows if row.is_held_out]
            for event in notes.new():
                reporter(event)
            if rows and rows[-1].step != said:
                said = rows[-1].step
                reporter.progress(
                    stage,
                    said,
                    steps,
                    **fields,
                    **_shown(rows[-1]),
                    **({"validation_loss": held_out[-1]} if held_out else {}),
                )
            if ended:
                return

    thread = threading.Thread(target=watch, name="watch-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def workers_in_words(training: Training) -> str:
    workers = training.workers
    if workers.min_count == workers.max_count:
        return f"{workers.max_count} worker(s)"
    return f"{workers.min_count} to {workers.max_count} workers"


def _shown(row: MetricRow) -> dict[str, Number]:
    shown = ("train_loss", "learning_rate", "tokens_per_s", "samples_per_s")
    return {name: value for name, value in row.numbers.items() if name in shown}
