"""What one worker does for a pass that only measures: open data and model, measure, write down."""

from __future__ import annotations

import torch

from trainshed.errors import PlatformError
from trainshed.record.events import Log, to_nobody
from trainshed.record.metric_rows import MetricRow
from trainshed.runtime import tasks
from trainshed.runtime.tasks.protocol import MeasuresSamples
from trainshed.runtime.training import engines
from trainshed.runtime.training.ended import Ended
from trainshed.runtime.training.engines.answering import AnsweringModel, Answers
from trainshed.runtime.training.host import Host, World
from trainshed.runtime.training.loop.metric_log import MetricLog, NoRows
from trainshed.runtime.training.notes import Notes
from trainshed.runtime.training.opened import opened
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.runtime.training.scoring.files import ScoreFiles
from trainshed.runtime.training.scoring.measure import measure_splits
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.spec.training.engines import Ddp
from trainshed.spec.training.train import Training


def score_worker(plan: WorkerSpec, host: Host) -> Ended:
    """Measures every sample; the shape of the model is in the figures that it ends with.

    Raises:
        PlatformError: the task has no figures of single samples.
    """
    with opened(plan, host) as here:
        task = tasks.build(here.training, here.facts)
        if not isinstance(task, MeasuresSamples):
            raise PlatformError(f"task {here.training.task.kind} has no figures of single samples")
        first = host.world.worker == 0
        metric_log = MetricLog(here.storage, f"{plan.folder}/metrics.jsonl") if first else None
        if metric_log is not None:
            metric_log.rewind(sum(map(len, here.splits.values())))
        notes = Notes(here.storage, plan.folder) if first else None
        engine = answering(here.training, task, host.world)
        for remark in getattr(task, "remarks", ()):
            (notes or to_nobody)(Log(message=remark))
        done, notice = measure_splits(
            task.of_samples,
            task,
            here.splits,
            engine,
            host,
            per_device=here.training.workers.per_device,
            files=ScoreFiles(here.storage, plan.folder),
            rows=metric_log or NoRows(),
        )
        for journal in (metric_log, notes):
            if journal is not None:
                journal.close()
        return Ended(MetricRow.of({"step": done, "shape": task.shape}), notice)


def answering(training: Training, task: tasks.Task, world: World) -> Answers:
    """The task's model, whole on every worker or split over them; every worker calls it."""
    torch.manual_seed(training.seed)
    make_in_parts = getattr(task, "make_in_parts", None)
    if isinstance(training.engine, Ddp):
        return AnsweringModel(training, task.make_model, world.device, make_in_parts=make_in_parts)
    optimizer = training.optimizer
    return engines.build(
        training,
        task.make_model,
        lambda model, shape_of: build_optimizer(optimizer, model, shape_of),
        world.device,
        make_in_parts=make_in_parts,
    )
