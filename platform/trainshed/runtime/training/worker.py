"""What one worker does around the loop: open the data, keep its log, train, and let worker 0 export the model.

The same function runs under Ray Train and inside a Tune trial; its plan is plain data, so it travels.
"""

from __future__ import annotations

import gc

import torch.distributed as dist

from trainshed.record.events import to_nobody
from trainshed.record.metric_rows import MetricRow
from trainshed.runtime import tasks
from trainshed.runtime.shards.folds import split_off
from trainshed.runtime.training.checkpoints.initial import begin_from_checkpoint
from trainshed.runtime.training.checkpoints.keeper import Keeper
from trainshed.runtime.training.ended import Ended
from trainshed.runtime.training.engines import Engine
from trainshed.runtime.training.export import Trained, Written
from trainshed.runtime.training.host import Host
from trainshed.runtime.training.loop.loop import train
from trainshed.runtime.training.loop.metric_log import MetricLog
from trainshed.runtime.training.loop.setup import make_engine
from trainshed.runtime.training.loop.state import Splits
from trainshed.runtime.training.loop.validation import validate
from trainshed.runtime.training.notes import Notes
from trainshed.runtime.training.opened import opened
from trainshed.runtime.training.worker_spec import WorkerSpec


def run_worker(plan: WorkerSpec, host: Host) -> Ended:
    """Trains to the end; the last metrics and, with an export, the hash of the weights.

    Every worker calls it; only worker 0's metrics hold the hash.
    """
    with opened(plan, host) as here:
        training = here.training
        storage = here.storage
        facts = here.facts
        splits = Splits(*here.splits.values())
        if plan.fold is not None:
            learnt, held_out = split_off(splits.train, fold=plan.fold[0], folds=plan.fold[1], seed=training.seed)
            splits = Splits(learnt, held_out)
        first = host.world.worker == 0
        metric_log = MetricLog(storage, f"{plan.folder}/metrics.jsonl") if first else None
        notes = Notes(storage, plan.folder) if first else None
        sink = notes or to_nobody
        engine: Engine | None = None
        for stretch in training.stretches:
            engine = None  # there is room for one
            gc.collect()
            task = tasks.build(stretch.training, facts)
            engine = make_engine(stretch.training, task, host.world, sink)
            begin_from_checkpoint(training, plan, engine, host.world, sink)
            ended = train(
                stretch.training,
                task,
                splits,
                host,
                engine,
                metric_log=metric_log,
                keeper=Keeper(storage, plan.folder, training.checkpoint, host.world, sink),
                sink=sink,
                until=stretch.until,
            )
            stopped_early = ended.last.step < stretch.until
            if ended.notice is not None or stopped_early:
                break
        for journal in (metric_log, notes):
            if journal is not None:
                journal.close()
        if engine is None or not plan.export or ended.notice is not None:
            return ended
        metrics = dict(ended.last.values)
        if splits.test is not None:
            found = validate(training, task, splits.test, engine, host.world)
            metrics |= {f"test_{name}": value for name, value in found.items()}
        trained = Trained(training, task, facts, splits, host.world)
        said = trained.answers(engine)
        state = engine.export()
        engine = None  # the export is opened where its weights were
        gc.collect()
        written = trained.write(state, said, storage, plan.folder) if state is not None else Written()
        dist.barrier()
        return Ended(MetricRow.of({**metrics, **written.metrics}), None, written.export)
