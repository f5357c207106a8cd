"""What a worker needs for a training under a layout: the engine's states, and the activations of a pass."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainshed.spec.plan.model import WIDTHS, ModelCost, activation_bytes
from trainshed.spec.training.engines import Layout, Load
from trainshed.spec.training.optimizers import moments
from trainshed.spec.training.train import Training


@dataclass(frozen=True)
class Need:
    """Bytes that one worker needs under a layout, by what they are."""

    layout: Layout
    per_device_batch_size: int
    parameters: int
    gradients: int
    optimizer: int
    """Moments, and fp32 master weights where the engine keeps them."""
    buffers: int = 0
    """Of communication; whole parameters that stage 3 has gathered; the average of weights where one is kept."""
    activations: int = 0
    host: int = 0
    """In the machine's memory instead of the device's."""
    disk: int = 0
    states: int = field(init=False)
    total: int = field(init=False)
    """On the device."""

    def __post_init__(self) -> None:
        """The sums are fields, so that JSON has them."""
        object.__setattr__(self, "states", self.parameters + self.gradients + self.optimizer)
        object.__setattr__(self, "total", self.states + self.buffers + self.activations)


def states(
    training: Training,
    cost: ModelCost,
    layout: Layout,
    *,
    workers: int | None = None,
    several_passes: bool = True,
) -> Need:
    """Bytes of states on one worker between two passes of a step, the most there are; without activations.

    `workers` is how many there are, where the job leaves it open; else the fewest it allows, who hold more each.
    Without `several_passes` it is after the only pass of a step.
    """
    assert cost.parameters is not None
    assert cost.trainable is not None
    held = layout.bytes_of(
        Load(
            parameters=cost.parameters,
            trained=cost.trainable,
            moments=moments(training.optimizer),
            width=WIDTHS[training.precision],
            workers=workers or training.workers.min_count,
            gathered=gathered_numbers(cost),
            averaged=training.regularization.ema_decay > 0,
            several_passes=several_passes,
        )
    )
    return Need(
        layout, 0, held.parameters, held.gradients, held.optimizer, held.buffers, host=held.host, disk=held.disk
    )


def gathered_numbers(cost: ModelCost) -> int:
    """Weights that are whole at once where layers are gathered one by one: two layers, and all outside of layers."""
    assert cost.parameters is not None
    if not cost.layers:
        return cost.parameters
    in_layers = sum(one.count * one.matrices for one in cost.layers)
    two_layers = 2 * max(one.matrices for one in cost.layers)
    return min(cost.parameters, max(0, cost.parameters - in_layers) + two_layers)


def need(training: Training, cost: ModelCost, layout: Layout, per_device: int, *, checkpointing: bool) -> Need:
    """The memory that one worker needs for passes over `per_device` samples."""
    held = states(training, cost, layout)
    alive = activation_bytes(
        cost,
        per_device,
        width=WIDTHS[training.precision],
        checkpointing=checkpointing,
        gpu=training.workers.gpus > 0,
    )
    return Need(
        layout,
        per_device,
        held.parameters,
        held.gradients,
        held.optimizer,
        buffers=held.buffers,
        activations=alive,
        host=held.host,
        disk=held.disk,
    )


def needed(one: Need, training: Training) -> int:
    """Bytes to compare with a limit: on a CPU the device's memory is the machine's."""
    return one.total + (0 if training.workers.gpus else one.host)


def batches_to_choose_from(training: Training) -> tuple[int, ...]:
    """What a worker's batch may be, the largest first."""
    given = training.workers.per_device_batch_size
    if given != "auto":
        return (given,)
    counts = range(training.workers.min_count, training.workers.max_count + 1)
    most = training.global_batch_size // training.workers.max_count
    return tuple(
        batch
        for batch in range(most, 0, -1)
        if all(training.global_batch_size % (count * batch) == 0 for count in counts)
    )


def checkpoints_activations(training: Training) -> bool:
    """Whether the job asks for activations to be computed again in the backward pass."""
    return training.engine.activation_checkpointing
