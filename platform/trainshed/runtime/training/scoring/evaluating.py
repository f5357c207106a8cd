"""What one worker does for an evaluation: open data and model, measure each sample, and answer the first of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from trainshed.errors import PlatformError
from trainshed.record.facts import parse_facts
from trainshed.record.metric_rows import MetricRow
from trainshed.record.results import WeightsOrigin
from trainshed.runtime import tasks
from trainshed.runtime.models.files import files_of_export
from trainshed.runtime.scratch import scratch
from trainshed.runtime.tasks.protocol import GivesAnswers, MeasuresEach
from trainshed.runtime.training.ended import Ended, Notice
from trainshed.runtime.training.engines.answering import AnsweringModel, Answers
from trainshed.runtime.training.host import Host
from trainshed.runtime.training.loop.metric_log import MetricLog, NoRows
from trainshed.runtime.training.opened import Opened, opened
from trainshed.runtime.training.scoring.answers import answer_samples
from trainshed.runtime.training.scoring.chosen import Chosen, numbers_of
from trainshed.runtime.training.scoring.files import AnswerFiles, ScoreFiles
from trainshed.runtime.training.scoring.measure import measure_splits
from trainshed.runtime.training.scoring.worker import answering
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.spec.evaluation.asked import Asked
from trainshed.spec.evaluation.labels import labels_of
from trainshed.spec.training.models import Pretrained

CONFIG = "config.json"


def evaluate_worker(plan: WorkerSpec, host: Host) -> Ended:
    """Leaves the figures of each sample in `scores/`, and answers in `answers/`, of the run's folder.

    Raises:
        PlatformError: labels that the model does not know, weights that are not those of the export, or a task whose
            meter has no figures of single samples.
    """
    asked = Asked.model_validate_json(json.dumps(plan.evaluation))
    with opened(plan, host) as here, _exported(plan, here, asked) as folder:
        facts, samples = _as_the_model_knows_them(here, folder, asked)
        task = tasks.build(here.training, facts)
        engine = _answering(here, task, folder, host)
        meter = task.meter()
        if not isinstance(meter, MeasuresEach):
            raise PlatformError(f"task {here.training.task.kind}: its meter has no figures of single samples (`each`)")
        first = host.world.worker == 0
        metric_log = MetricLog(here.storage, f"{plan.folder}/metrics.jsonl") if first else None
        if metric_log is not None:
            metric_log.rewind(asked.samples)
        done, notice = measure_splits(
            meter.each,
            task,
            {asked.split: samples},
            engine,
            host,
            per_device=here.training.workers.per_device,
            files=ScoreFiles(here.storage, plan.folder),
            rows=metric_log or NoRows(),
        )
        if notice is None:
            notice = _answered(task, samples, engine, host, asked, here, plan.folder)
        if metric_log is not None:
            metric_log.close()
        return Ended(MetricRow.of({"step": done}), notice)


def _answered(
    task: tasks.Task,
    samples: tasks.Samples,
    engine: Answers,
    host: Host,
    asked: Asked,
    here: Opened,
    folder: str,
) -> Notice | None:
    if not asked.answered:
        return None
    if not isinstance(task, GivesAnswers) or not isinstance(engine, AnsweringModel):
        raise PlatformError(
            f"answers: task {here.training.task.kind} under engine {here.training.engine.name} generates none; say "
            "engine: {kind: ddp}, or answers: {max_samples: 0}"
        )
    return answer_samples(task, samples, engine, host, asked=asked, files=AnswerFiles(here.storage, folder))


@contextmanager
def _exported(plan: WorkerSpec, here: Opened, asked: Asked) -> Iterator[Path]:
    """The model's files: the private copy of a transformers model, or one of what is none."""
    model = here.training.model
    if isinstance(model, Pretrained):
        yield Path(model.name_or_path)
        return
    origin = parse_facts(plan.weights[asked.model], WeightsOrigin, asked.model)
    with scratch("weights") as copy:
        files_of_export(here.storage, origin).copy_to(copy)
        yield copy


def _as_the_model_knows_them(here: Opened, folder: Path, asked: Asked) -> tuple[tasks.DataFacts, Chosen]:
    """What the task is told of the data, and its samples, with the labels that the model has.

    Raises:
        PlatformError: it does not know one, or there are no samples.
    """
    samples = here.splits[asked.split]
    facts = here.facts
    if not facts.labels:
        return facts, Chosen(samples, asked.samples)
    known = labels_of(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    numbers = numbers_of(facts.labels, known)
    return facts.with_labels(known), Chosen(samples, asked.samples, numbers, labels=len(known))


def _answering(here: Opened, task: tasks.Task, folder: Path, host: Host) -> Answers:
    """The model whole on every worker, or split over them."""
    if isinstance(here.training.model, Pretrained):
        engine = answering(here.training, task, host.world)
        remarks = getattr(task, "remarks", ())
        if remarks:
            raise PlatformError(f"{here.training.model.name_or_path}: {remarks[0]}; that is no model to evaluate")
        return engine
    exports = getattr(task, "exports", None)
    if exports is None:
        raise PlatformError(f"task {here.training.task.kind} cannot open its export again")
    return AnsweringModel(here.training, lambda: exports.open_export(folder, torch.float32), host.world.device)
