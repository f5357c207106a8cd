"""What one training is made of, and where it stands: what the loop and its helpers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from trainshed.record.events import Sink
from trainshed.runtime.tasks import Samples, Task
from trainshed.runtime.training.checkpoints.keeper import Checkpointing
from trainshed.runtime.training.checkpoints.progress import Progress
from trainshed.runtime.training.engines import Engine
from trainshed.runtime.training.host import Host
from trainshed.runtime.training.loop.clock import StepClock
from trainshed.runtime.training.loop.loss_guard import LossGuard
from trainshed.runtime.training.loop.memory_use import PlanCheck
from trainshed.runtime.training.loop.metric_log import Rows
from trainshed.runtime.training.loop.order import Order
from trainshed.runtime.training.loop.stepper import Stepper, Watches
from trainshed.runtime.training.loop.utilisation import Utilisation
from trainshed.runtime.training.optim import regularization
from trainshed.runtime.training.optim.regularization import Regularizers
from trainshed.spec.training.train import Training


@dataclass(frozen=True)
class Splits:
    """The samples that are learnt from, and those held out."""

    train: Samples
    validation: Samples
    test: Samples | None = None


@dataclass
class State:
    """Where a training stands. Only `progress` is in a checkpoint."""

    unproven: bool
    """Whether the workers' weights have still to be compared after a first step."""
    progress: Progress = field(default_factory=Progress)
    rollbacks: int = 0
    told_committed: int = 0
    """The step of the newest checkpoint that the host has heard of."""


@dataclass(frozen=True)
class Parts:
    """What a training is made of, on this worker."""

    training: Training
    task: Task
    splits: Splits
    host: Host
    engine: Engine
    keeper: Checkpointing
    metric_log: Rows
    sink: Sink
    order: Order
    guard: LossGuard
    regularizers: Regularizers
    stepper: Stepper
    watches: Watches


def assemble(
    training: Training,
    task: Task,
    splits: Splits,
    host: Host,
    engine: Engine,
    *,
    keeper: Checkpointing,
    metric_log: Rows,
    sink: Sink,
    step: Callable[[], int],
) -> Parts:
    """The parts of one training. `step` says how many optimizer steps are done."""
    regularizers = regularization.apply(training.regularization, engine.model, engine.optimizer, step)
    watches = Watches(
        StepClock(host.world.device),
        PlanCheck(training, engine, host.world, sink),
        Utilisation(training, engine, host.world),
    )
    return Parts(
        training,
        task,
        splits,
        host,
        engine,
        keeper,
        metric_log,
        sink,
        order=Order(len(splits.train), training.global_batch_size, training.seed),
        guard=LossGuard(training.recovery),
        regularizers=regularizers,
        stepper=Stepper(training, task, splits.train, host, engine, regularizers, watches),
        watches=watches,
    )
