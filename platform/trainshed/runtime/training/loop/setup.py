"""The engine of a training, once the workers have shown that they can train together."""

from __future__ import annotations

from functools import partial

import torch

from trainshed.record.events import Log, Sink, to_nobody
from trainshed.runtime.tasks import Task
from trainshed.runtime.training import engines
from trainshed.runtime.training.engines import Engine
from trainshed.runtime.training.host import World
from trainshed.runtime.training.loop.self_test import self_test
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.spec.training.models import growth
from trainshed.spec.training.train import Training


def make_engine(training: Training, task: Task, world: World, sink: Sink = to_nobody) -> Engine:
    """The engine that the training names, with the task's model in it; every worker calls it.

    Raises:
        PlatformError: the workers do not train as one, or the model cannot be made.
    """
    if training.self_test:
        self_test(training, world)
    torch.manual_seed(training.seed)
    engine = engines.build(
        training,
        task.make_model,
        partial(build_optimizer, training.optimizer, growth=growth(training.model)),
        world.device,
        make_in_parts=getattr(task, "make_in_parts", None),
    )
    for remark in getattr(task, "remarks", ()):
        sink(Log(message=remark))
    return engine
