"""One optimizer step, on every worker: share, forward, backward, apply; then all agree on what it came to.

Knows a task, samples and an engine; knows nothing of what was before or comes after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch

from trainshed.runtime.tasks import Batch, Samples, Task
from trainshed.runtime.tasks.protocol import DrawsAnswers
from trainshed.runtime.training.ended import Notice
from trainshed.runtime.training.engines import Engine
from trainshed.runtime.training.host import Host
from trainshed.runtime.training.loop.clock import StepClock
from trainshed.runtime.training.loop.memory_use import PlanCheck
from trainshed.runtime.training.loop.order import Ids, share
from trainshed.runtime.training.loop.shares import batch_of, sum_over_workers
from trainshed.runtime.training.loop.utilisation import Utilisation
from trainshed.runtime.training.optim.regularization import Regularizers
from trainshed.spec.training.train import Training


@dataclass(frozen=True)
class StepDone:
    """What one optimizer step came to; the same on every worker."""

    loss: float
    grad_norm: float
    learning_rate: float
    units: float
    figures: Mapping[str, float]
    """Of a task that draws answers: what they came to."""
    notice: Notice | None
    committed_step: int


@dataclass(frozen=True)
class Watches:
    """What looks on while a step is done."""

    clock: StepClock
    plan_check: PlanCheck
    utilisation: Utilisation


@dataclass(frozen=True)
class Stepper:
    """The parts that every step of a training has in common."""

    training: Training
    task: Task
    samples: Samples
    host: Host
    engine: Engine
    regularizers: Regularizers
    watches: Watches

    def step(self, step: int, ids: Ids, committed: int) -> StepDone:
        """Optimizer step `step` over the global batch `ids`; `committed` is worker 0's newest checkpoint."""
        training = self.training
        world = self.host.world
        torch.manual_seed(hash((training.seed, step, world.worker)))
        per_device = training.workers.per_device
        shares = share(ids, worker=world.worker, workers=world.workers, per_device=per_device)
        drawing = self.task if isinstance(self.task, DrawsAnswers) else None
        with self.watches.clock.stage("input"):
            if drawing is not None:
                drawing.sync(self.engine, world.device)
            batches = [batch_of(self.task, self.samples, part, (training.seed, step), world) for part in shares]
        # Passes and workers may hold different numbers of units; the step's loss is the mean over all of them.
        own = torch.tensor([sum(map(self.task.weight, batches))], dtype=torch.float64)
        units = float(sum_over_workers(own, world))
        total = torch.zeros(1, dtype=torch.float64, device=world.device)
        # An engine applies the mean over passes and workers: this makes it the sum over the step, by its units.
        scale = len(shares) * training.regularization.passes * world.workers / units
        for batch in batches:
            total += self._pass(batch, scale)
            self.watches.utilisation.saw(batch)
            self.watches.plan_check.passed(len(batches) * training.regularization.passes)
        rate = training.optimizer.learning_rate * training.schedule.factor(step, training.total_steps)
        with self.watches.clock.stage("step"):
            norm = self.engine.step(rate)
        self.watches.plan_check.stepped()
        agreed = self._agree(float(total), committed)
        figures = {} if drawing is None else drawing.figures(partial(sum_over_workers, world=world))
        return StepDone(agreed[0] / units, norm, rate, units, figures, _notice(agreed), int(agreed[3]))

    def _pass(self, batch: Batch, scale: float) -> torch.Tensor:
        """Adds the gradients of one share of samples; its loss, of the clean pass where there is one under attack."""
        losses = []
        for attack in self.regularizers.passes():
            with attack:
                with self.watches.clock.stage("forward"):
                    smoothing = self.training.regularization.label_smoothing
                    loss = self.task.loss(self.engine.forward, batch, label_smoothing=smoothing)
                with self.watches.clock.stage("backward"):
                    self.engine.backward(loss * scale)
            losses.append(loss.detach())
        return losses[0]

    def _agree(self, loss: float, committed: int) -> list[float]:
        """Summed over the workers: the loss, how many were told to leave, how many to stop, what worker 0 committed."""
        notice = self.host.notice()
        told = torch.tensor([loss, notice == "leave", notice == "stop", max(committed, 0)], dtype=torch.float64)
        return [float(value) for value in sum_over_workers(told, self.host.world)]


def _notice(agreed: list[float]) -> Notice | None:
    if agreed[2]:
        return "stop"
    return "leave" if agreed[1] else None
