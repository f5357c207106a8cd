"""What a training will need, by pure arithmetic: batch, tokens, and bytes of states per worker for each ZeRO stage.

States are parameters, gradients and AdamW's two moments (arXiv 1910.02054, section 3), with fp32 master weights
wherever DeepSpeed keeps them: in stages 1 to 3. Activations are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainshed.errors import PlanError
from trainshed.spec.engines import DeepSpeed
from trainshed.spec.models import DataSizes, count_parameters, sequence_length
from trainshed.spec.train import Training

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
FP32 = 4
MOMENTS = 2
FLOPS_PER_PARAMETER_AND_TOKEN = 6


@dataclass(frozen=True)
class StatesPerWorker:
    """Bytes that one worker holds, by what they are."""

    zero_stage: int
    parameters: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.parameters + self.gradients + self.optimizer


@dataclass(frozen=True)
class Plan:
    """The arithmetic of one training."""

    name: str
    parameters: int
    tokens_per_step: int
    tokens: int
    accumulation: int
    workers: int
    stages: tuple[StatesPerWorker, ...]
    chosen: StatesPerWorker
    memory_bytes: int | None

    @property
    def flops(self) -> float:
        """Floating-point operations of forward and backward passes, about."""
        return float(FLOPS_PER_PARAMETER_AND_TOKEN * self.parameters * self.tokens)


def plan(name: str, training: Training, sizes: DataSizes) -> Plan:
    """The plan of a training over data of these sizes.

    Raises:
        ValueError: only the cluster can count the weights (`count_parameters` gives None).
    """
    parameters = count_parameters(training.model, sizes)
    if parameters is None:
        raise ValueError(f"{name}: the weights of a {training.model.kind} are counted on the cluster")
    stages = tuple(states(training, parameters, stage) for stage in range(4))
    tokens_per_step = training.global_batch_size * sequence_length(training.model, sizes)
    memory_gb = training.workers.memory_gb
    return Plan(
        name=name,
        parameters=parameters,
        tokens_per_step=tokens_per_step,
        tokens=tokens_per_step * training.steps,
        accumulation=training.accumulation,
        workers=training.workers.max_count,
        stages=stages,
        chosen=stages[int(training.engine.zero_stage) if isinstance(training.engine, DeepSpeed) else 0],
        memory_bytes=None if memory_gb is None else int(memory_gb * 10**9),
    )


def states(training: Training, parameters: int, zero_stage: int) -> StatesPerWorker:
    """Bytes of states on one worker under a ZeRO stage."""
    workers = training.workers.min_count  # the fewer hold more each
    width = BYTES[training.precision]
    master = FP32 if zero_stage >= 1 else 0
    return StatesPerWorker(
        zero_stage=zero_stage,
        parameters=parameters * width // (workers if zero_stage == 3 else 1),
        gradients=parameters * width // (workers if zero_stage >= 2 else 1),
        optimizer=parameters * (MOMENTS * FP32 + master) // (workers if zero_stage >= 1 else 1),
    )


def refuse_what_cannot_fit(made: Plan, *, machine_bytes: int | None = None) -> None:
    """Compares the states with the memory that the job declares, and with the machine's where it is known.

    Raises:
        PlanError: they do not fit; the message names a stage that would.
    """
    limits = [
        (made.chosen.total, made.memory_bytes, "workers.memory_gb"),
        (made.chosen.total * made.workers, machine_bytes, "this machine's memory"),
    ]
    for needed, limit, what in limits:
        if limit is not None and needed > limit:
            share = limit // (made.workers if what != "workers.memory_gb" else 1)
            fitting = [stage.zero_stage for stage in made.stages if stage.total <= share]
            hint = (
                f"engine.zero_stage: {fitting[0]} would fit"
                if fitting
                else "no stage fits; use more workers or a smaller model"
            )
            raise PlanError(
                f"{made.name}: model and optimizer states need {needed / 1e9:.2f} GB, "
                f"{what} is {limit / 1e9:.2f} GB; {hint}"
            )
