"""Before the first step: can these workers train together? A wrong answer here costs a second, later a budget.

Two questions. Does a step of all workers change a small model as one worker alone would change it on the same global
batch, under this job's engine, optimizer, precision and clipping? And do the workers hold the same weights of the real
model? Knows engines and collectives; knows no task or data.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F

from trainshed.errors import PlatformError
from trainshed.runtime.training import engines
from trainshed.runtime.training.engines import Engine
from trainshed.runtime.training.host import World
from trainshed.runtime.training.optimizers import build_optimizer
from trainshed.runtime.training.shares import sum_over_workers
from trainshed.spec.engines import Ddp, DeepSpeed
from trainshed.spec.regularization import Regularization
from trainshed.spec.train import Training

WIDTH = 16
TOLERANCE = {"fp32": 1e-4, "bf16": 3e-2, "fp16": 3e-2}
"""Relative difference of a step's change that rounding explains."""


def self_test(training: Training, world: World) -> None:
    """Takes one step of a small model on all workers, and the same step alone; every worker must call it.

    Raises:
        PlatformError: the two steps differ; the message names what is broken.
    """
    if world.workers == 1:
        return
    _check_all_reduce(world)
    probe = _probe_training(training)
    together = _step_together(probe, world)
    alone = _step_alone(probe, world)
    own = 0.0
    if together is not None:  # worker 0's: all refuse together
        own = max(float((together[name] - alone[name]).norm() / (1e-12 + alone[name].norm())) for name in alone)
    worst = float(sum_over_workers(torch.tensor([own], dtype=torch.float64), world))
    if not worst <= TOLERANCE[training.precision]:
        raise PlatformError(
            f"self-test: a step of {world.workers} workers is not the step of one: weights of a small model differ by "
            f"{worst:.1e}; gradients are not averaged as they should be under engine {training.engine.kind}; "
            "self_test: false trains all the same"
        )


def check_weights_agree(engine: Engine, training: Training, world: World) -> None:
    """Compares a checksum of the weights over the workers; under ZeRO-3 each element is held once, so nothing is done.

    Raises:
        PlatformError: they differ; the message names the first such parameter.
    """
    if world.workers == 1 or (isinstance(training.engine, DeepSpeed) and training.engine.zero_stage == 3):
        return
    names = [name for name, _ in engine.model.named_parameters()]
    sums = torch.stack([_checksum(parameter) for _, parameter in engine.model.named_parameters()]).to(world.device)
    lowest, highest = sums.clone(), sums.clone()
    dist.all_reduce(lowest, op=dist.ReduceOp.MIN)
    dist.all_reduce(highest, op=dist.ReduceOp.MAX)
    wrong = [name for name, differs in zip(names, (lowest != highest).any(dim=1).tolist(), strict=True) if differs]
    if wrong:
        raise PlatformError(
            f"self-test: the workers hold different weights of {wrong[0]} and {len(wrong) - 1} more parameters after a "
            "step; look for a worker with another version of a library, or a broken all-reduce"
        )


def _checksum(parameter: torch.Tensor) -> torch.Tensor:
    """Two float64 sums that equal weights have in common, shape `(2,)`."""
    values = parameter.detach().double()
    return torch.stack([values.sum(), values.abs().sum()])


def _check_all_reduce(world: World) -> None:
    """The one collective that everything stands on."""
    value = torch.full((3,), float(world.worker + 1), device=world.device)
    dist.all_reduce(value)
    expected = world.workers * (world.workers + 1) / 2
    if value.tolist() != [expected] * 3:
        raise PlatformError(
            f"self-test: all-reduce over {world.workers} workers gave {value[0]:g} where the sum is {expected:g}; "
            f"the collectives ({dist.get_backend()}) of these machines are broken"
        )


def _probe_training(training: Training) -> Training:
    """The job's engine, optimizer, precision and clipping around a small model; one pass a step."""
    engine = training.engine
    plain: DeepSpeed | Ddp = (
        DeepSpeed(zero_stage=engine.zero_stage, offload=engine.offload) if isinstance(engine, DeepSpeed) else Ddp()
    )
    return training.model_copy(
        update={
            "engine": plain,
            "regularization": Regularization(max_grad_norm=training.regularization.max_grad_norm),
        }
    )


def _step_together(training: Training, world: World) -> dict[str, torch.Tensor] | None:
    engine = engines.build(
        training, _small_model, lambda model: build_optimizer(training.optimizer, model), world.device
    )
    passes = training.global_batch_size // (world.workers * training.workers.per_device)
    inputs, targets = _samples(passes * world.workers, world.device)
    for number in range(passes):
        mine = slice(number * world.workers + world.worker, number * world.workers + world.worker + 1)
        engine.backward(_loss(engine.forward, inputs[mine], targets[mine], training))
    engine.step(training.optimizer.learning_rate)
    state = engine.export()
    return None if state is None else {name: tensor.double() for name, tensor in state.items()}


def _step_alone(training: Training, world: World) -> dict[str, torch.Tensor]:
    model = _small_model().to(world.device)
    optimizer = build_optimizer(training.optimizer, model)
    inputs, targets = _samples(training.global_batch_size // training.workers.per_device, world.device)
    _loss(model, inputs, targets, None).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), training.regularization.max_grad_norm or float("inf"))
    for group in optimizer.param_groups:
        group["lr"] = training.optimizer.learning_rate * group["lr_scale"]
    optimizer.step()
    return {name: tensor.detach().double().cpu() for name, tensor in model.state_dict().items()}


def _small_model() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh(), torch.nn.Linear(WIDTH, WIDTH))


def _samples(count: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The same on every worker: inputs and targets, shape `(count, WIDTH)`."""
    drawn = torch.randn(2, count, WIDTH, generator=torch.Generator().manual_seed(1)).to(device)
    return drawn[0], drawn[1]


def _loss(forward: Any, inputs: torch.Tensor, targets: torch.Tensor, training: Training | None) -> torch.Tensor:
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(training.precision if training else "fp32")
    as_input = inputs.to(half) if half is not None and isinstance(training and training.engine, DeepSpeed) else inputs
    return F.mse_loss(forward(input=as_input).float(), targets)
