"""Before the first step: can these workers train together? A wrong answer here costs a second, later a budget.

Three questions. Do the collectives give what they should? Do two steps of gradient descent, of all workers on a small
model under this job's engine and precision, apply the gradient that one worker alone finds? That is seen in the change
of the weights, where neither the job's optimizer nor its rate hides anything, in the norm, and in what each worker then
computes. Do two steps of the job's own optimizer, rate and clipping change the weights as one worker's would? After the
first step of the real model a fourth: do the workers hold the same weights? Knows engines and collectives, no task.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist

from trainshed.errors import PlatformError
from trainshed.runtime.training import engines
from trainshed.runtime.training.engines import HALF, Engine
from trainshed.runtime.training.host import World
from trainshed.runtime.training.loop.probe import Shape, flat, parts_of_step, small_model
from trainshed.runtime.training.loop.probe_steps import cause_of, change_of_step, gradient_of_step
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.spec.training.optimizers import Sgd
from trainshed.spec.training.regularization import Regularization
from trainshed.spec.training.train import Training

STEPS = 2
"""The second one is taken with the weights that the first one left, on every worker."""
MOVE = 0.3
"""A step of gradient descent moves the weights by so much of their norm: far more than any rounding does."""
NEVER = 1e9
"""A clipping norm that no gradient reaches; with one, every engine says its norm."""
GRADIENT = {"fp32": 1e-3, "bf16": 6e-2, "fp16": 6e-2}
"""Relative difference of a gradient that rounding explains."""
CHANGE = {"fp32": 2e-2, "bf16": 0.6, "fp16": 0.6}
"""The same of an optimizer's step: Adam and Lion take the sign of a gradient, and rounding turns small ones."""

SUMMED_AT_ONCE = 1 << 22
"""Elements of a checksum that stand in float64 at a time: an embedding of a large model would not fit."""

_agreements = itertools.count()


def self_test(training: Training, world: World) -> None:
    """Takes steps of a small model on all workers, and the same steps alone; every worker must call it.

    Raises:
        PlatformError: they differ, on any worker; the message, on all of them the same, names what is broken.
    """
    if world.workers == 1:
        return
    _agree(world, _broken_collective(training, world), lambda found: next(one for one in found if one))
    shape = Shape.of(training, world)
    probe = _probe_training(training)
    _check_gradients(probe, world, shape)
    _check_optimizer(probe, world, shape)


def check_weights_agree(engine: Engine, world: World) -> None:
    """Compares a checksum of the weights over the workers; where they are split each element is held once.

    Raises:
        PlatformError: they differ; the message names the first such parameter.
    """
    if world.workers == 1 or engine.splits_weights:
        return
    names = [name for name, _ in engine.model.named_parameters()]
    sums = torch.stack([_checksum(parameter) for _, parameter in engine.model.named_parameters()]).to(world.device)
    lowest = sums.clone()
    highest = sums.clone()
    dist.all_reduce(lowest, op=dist.ReduceOp.MIN)
    dist.all_reduce(highest, op=dist.ReduceOp.MAX)
    wrong = [name for name, differs in zip(names, (lowest != highest).any(dim=1).tolist(), strict=True) if differs]
    if wrong:
        raise PlatformError(
            f"self-test: the workers hold different weights of {wrong[0]} and {len(wrong) - 1} more parameters after a "
            "step; look for a worker with another version of a library, or a broken all-reduce"
        )


def _checksum(parameter: torch.Tensor) -> torch.Tensor:
    """Two float64 sums that equal weights have in common, and weights in another order have not, shape `(2,)`."""
    values = parameter.detach().flatten()
    sums = torch.zeros(2, dtype=torch.float64, device=parameter.device)
    for start in range(0, len(values), SUMMED_AT_ONCE):
        part = values[start : start + SUMMED_AT_ONCE].double()
        turns = torch.arange(start, start + len(part), dtype=torch.float64, device=part.device)
        sums += torch.stack([part.abs().sum(), (part * torch.cos(turns)).sum()])
    return sums


def _broken_collective(training: Training, world: World) -> str | None:
    """The collectives that engines stand on, in fp32 and in the job's precision."""
    workers = world.workers
    device = world.device
    for dtype in (torch.float32, HALF.get(training.precision, torch.float32)):
        whole = torch.full((3,), 1.0, dtype=dtype, device=device)
        if dtype == torch.float32:  # half precision counts to a few hundred only
            whole *= world.worker + 1
        dist.all_reduce(whole)
        wanted = float(workers * (workers + 1) / 2 if dtype == torch.float32 else workers)
        if abs(whole.float() - wanted).max() > wanted / 100:
            words = f"all-reduce over {workers} workers gave {float(whole[0]):g} where the sum is {wanted:g}"
            return _of_collectives(words)
    first = torch.full((3,), float(world.worker + 1), device=device)
    dist.broadcast(first, src=0)
    if first.tolist() != [1.0] * 3:
        return _of_collectives(f"broadcast from worker 0 gave {float(first[0]):g} where it has 1")
    if training.engine.needs_all_gather:
        gathered = torch.zeros(workers, device=device)
        dist.all_gather_into_tensor(gathered, torch.tensor([float(world.worker + 1)], device=device))
        if gathered.tolist() != [float(one + 1) for one in range(workers)]:
            return _of_collectives(f"all-gather over {workers} workers gave {gathered.tolist()}")
    return None


def _of_collectives(words: str) -> str:
    return f"self-test: {words}; the collectives ({dist.get_backend()}) of these machines are broken"


def _check_gradients(training: Training, world: World, shape: Shape) -> None:
    """Plain gradient descent: what it changes is the gradient."""
    model = small_model()
    tolerance = GRADIENT[training.precision]
    first = parts_of_step(model, shape, 0).sum(dim=(0, 1))
    rate = MOVE * float(flat(model).norm() / first.norm())
    unclipped = Regularization(max_grad_norm=NEVER)
    plain = training.model_copy(
        update={"optimizer": Sgd(learning_rate=rate, momentum=0.0), "regularization": unclipped}
    )
    engine = _engine(plain, world)
    for step in range(STEPS):
        found = gradient_of_step(engine, plain, world, shape, model, step=step)
        own = dataclasses.asdict(found) if found.is_wrong(tolerance) else None
        _agree(world, own, lambda each: _of_a_step(training, world, cause_of(each, tolerance)))


def _check_optimizer(training: Training, world: World, shape: Shape) -> None:
    """The job's own optimizer at its rate, with its clipping at work: by the change that it makes."""
    model = small_model()
    limit = training.regularization.max_grad_norm
    factor = 1.0
    if limit and training.precision != "fp16":  # whose gradients are near their largest number as they are
        factor = 2 * limit / float(parts_of_step(model, shape, 0).sum(dim=(0, 1)).norm())
    alone = build_optimizer(training.optimizer, model)
    engine = _engine(training, world)
    for step in range(STEPS):
        off, norm = change_of_step(engine, training, world, shape, (model, alone), step=step, factor=factor)
        right = off <= CHANGE[training.precision] and abs(norm - 1) <= GRADIENT[training.precision]
        _agree(
            world, None if right else [off, norm], lambda each: _of_a_step(training, world, _of_change(training, each))
        )


def _of_change(training: Training, each: list[Any]) -> str:
    off, norm = next(one for one in each if one)
    return (
        f"its gradients agree, but a step of {training.optimizer.kind} is off by {off:.0%} of its change, "
        f"at {norm:.3g} times the gradient norm"
    )


def _of_a_step(training: Training, world: World, cause: str) -> str:
    return (
        f"self-test: a step of {world.workers} workers is not the step of one: {cause}, under engine "
        f"{training.engine.kind}; look at what moves gradients and weights between these machines (driver, libraries, "
        "network); self_test: false trains all the same"
    )


def _agree(world: World, own: Any, words: Callable[[list[Any]], str]) -> None:
    """Makes all workers refuse together where one has found a fault, through the store and without a collective.

    Raises:
        PlatformError: the words for what all have found, None of each worker that has found nothing.
    """
    store = dist.distributed_c10d._get_default_store()
    key = f"self-test-{next(_agreements)}"
    store.set(f"{key}/{world.worker}", json.dumps(own))
    if world.worker == 0:
        found = [json.loads(store.get(f"{key}/{worker}")) for worker in range(world.workers)]
        store.set(f"{key}/all", words(found) if any(one is not None for one in found) else "")
    if said := store.get(f"{key}/all").decode():
        raise PlatformError(said)


def _probe_training(training: Training) -> Training:
    """The job's engine, optimizer, precision and clipping around a small model, in as many passes a step."""
    plain = training.engine.model_copy(update={"activation_checkpointing": False, "compile": False})
    clipping = Regularization(max_grad_norm=training.regularization.max_grad_norm)
    return training.model_copy(update={"engine": plain, "regularization": clipping, "lora": None})


def _engine(training: Training, world: World) -> Engine:
    make_optimizer = partial(build_optimizer, training.optimizer)
    return engines.build(training, small_model, make_optimizer, world.device)
