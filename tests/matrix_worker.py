"""What each of several gloo workers does: trains many cases a few steps, and says the losses and gradient norms."""

import copy
import json
from functools import partial

import numpy as np
import torch
import torch.distributed as dist

from engine_worker import begin, end
from trainshed.runtime.training import engines
from trainshed.runtime.training.engines import HALF
from trainshed.runtime.training.engines.masters import to_working_copy
from trainshed.runtime.training.host import World
from trainshed.runtime.training.loop.order import share
from trainshed.runtime.training.loop.shares import batch_of
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.spec.training.engines import DeepSpeed

STEPS, BATCH = 4, 8
ALONE = World(0, 1, torch.device("cpu"))


def train_all(rank, workers, folder, rendezvous, cells):
    """Every cell, one after another: FOLDER/NAME.json has a loss and a norm for each step, or what was raised."""
    begin(rank, workers, rendezvous)
    world = World(rank, workers, torch.device("cpu"))
    for name, case in cells.items():
        found = trained(case, world)
        if rank == 0:
            (folder / f"{name}.json").write_text(json.dumps(found))
    end()


def trained(case, world):
    """`[loss, gradient norm]` of each step under the case's engine."""
    task, training = case.task, case.training
    torch.manual_seed(0)
    make_optimizer = partial(build_optimizer, training.optimizer)
    in_parts = getattr(task, "make_in_parts", None)
    engine = engines.build(training, task.make_model, make_optimizer, world.device, make_in_parts=in_parts)
    found = []
    for step in range(STEPS):
        units = weight_of(case, task, step)
        torch.manual_seed(hash((step, world.worker)))
        total, parts = torch.zeros(1), passes(training, step, world.worker)
        for ids in parts:
            batch = batch_of(task, case.samples, ids, (step,), world)
            loss = task.loss(engine.forward, batch, label_smoothing=0.0)
            engine.backward(loss * (world.workers * len(parts) / units))
            total += loss.detach()
        norm = engine.step(training.optimizer.learning_rate)
        dist.all_reduce(total)
        found.append([float(total) / units, norm])
    return found


def plain(case, workers):
    """The same of plain torch in one process, which draws what so many workers draw.

    In bf16 it passes through a copy in that type, and steps on the fp32 weights. Those of DeepSpeed begin as what the
    copy has of them, those of other engines as they are.
    """
    task, training = case.task, case.training
    torch.manual_seed(0)
    masters = task.make_model()
    dtype = HALF.get(training.precision)
    model = masters if dtype is None else to_working_copy(copy.deepcopy(masters), ALONE.device, dtype)
    if model is not masters and isinstance(training.engine, DeepSpeed):
        take_over(masters, model)
    model.train()
    optimizer = build_optimizer(training.optimizer, masters)
    found = []
    for step in range(STEPS):
        units, total = weight_of(case, task, step), 0.0
        for worker in range(workers):
            torch.manual_seed(hash((step, worker)))
            for ids in passes(training, step, worker):
                batch = batch_of(task, case.samples, ids, (step,), ALONE)
                loss = task.loss(model, batch, label_smoothing=0.0)
                (loss / units).backward()
                total += float(loss.detach())
        if model is not masters:
            hand_over(model, masters)
        norm = torch.nn.utils.clip_grad_norm_(masters.parameters(), training.regularization.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = training.optimizer.learning_rate * group["lr_scale"]
        optimizer.step()
        optimizer.zero_grad()
        if model is not masters:
            take_over(model, masters)
        found.append([total / units, float(norm)])
    return found


def hand_over(model, masters):
    """The gradients of a copy in bf16, in fp32."""
    for own, master in zip(model.parameters(), masters.parameters(), strict=True):
        master.grad = None if own.grad is None else own.grad.float()
        own.grad = None


@torch.no_grad()
def take_over(model, masters):
    for own, master in zip(model.parameters(), masters.parameters(), strict=True):
        own.copy_(master)


def passes(training, step, worker):
    """The samples of each pass of a worker."""
    ids = np.arange(BATCH) + BATCH * (step % 6)
    workers = training.workers
    return list(share(ids, worker=worker, workers=workers.max_count, per_device=workers.per_device))


def weight_of(case, task, step):
    """Units of the whole batch."""
    return task.weight(batch_of(task, case.samples, np.arange(BATCH) + BATCH * (step % 6), (step,), ALONE))
