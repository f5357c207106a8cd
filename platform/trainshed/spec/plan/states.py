"""What a worker needs for a training under a layout: the engine's states, and the activations of a pass."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainshed.spec.plan.layers import FP32
from trainshed.spec.plan.model import WIDTHS, ModelCost, activation_bytes
from trainshed.spec.training.engines import Layout, Load
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.optimizers import moments
from trainshed.spec.training.train import Training
from trainshed.spec.training.workers import Workers


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
    loading_host: int = 0
    """The most of the machine's memory while the weights are loaded or made; on a CPU what is kept is in it."""
    loading_device: int = 0
    """The most of the device's meanwhile; 0 where there is none."""
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
            light=cost.light,
            light_bytes=cost.light_bytes,
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
    loading_host, loading_device = loading(training, cost, layout)
    return Need(
        layout,
        per_device,
        held.parameters,
        held.gradients,
        held.optimizer,
        buffers=held.buffers + cost.answering_bytes,
        activations=alive,
        host=held.host,
        disk=held.disk,
        loading_host=loading_host,
        loading_device=loading_device,
    )


def loading(training: Training, cost: ModelCost, layout: Layout) -> tuple[int, int]:
    """Bytes of the machine and of the device, at the most, while a worker gets its weights.

    Where weights are split a worker has its share and one part, else the whole model, in fp32 until it is moved. Under
    fsdp all that is outside of layers is one part.
    """
    assert cost.parameters is not None
    on_device = training.workers.gpus > 0
    in_half = 4 if layout.engine == "ddp" else WIDTHS[training.precision]
    splits = layout.engine == "fsdp" or layout.zero_stage == 3
    if not splits and cost.light:
        held = FP32 * (cost.parameters - cost.light) + cost.light_bytes
        part = FP32 * max(_embeddings(cost), _largest_layer(cost))
        return (held + part, held) if on_device else (held + part, 0)
    if not splits:
        return FP32 * cost.parameters, in_half * cost.parameters if on_device else 0
    workers = training.workers.min_count
    if layout.engine == "fsdp":
        share = FP32 * cost.parameters // workers
        part = FP32 * max(_outside_of_layers(cost), _largest_layer(cost))
    else:
        width = in_half if isinstance(training.model, Pretrained) else FP32
        share = in_half * cost.parameters // workers
        part = width * max(_embeddings(cost), _largest_layer(cost))
    if layout.engine == "deepspeed" and layout.offload.parameters != "none":
        return share + part, part if on_device else 0
    return (part, share + part) if on_device else (share + part, 0)


def _outside_of_layers(cost: ModelCost) -> int:
    assert cost.parameters is not None
    return max(0, cost.parameters - sum(one.count * one.matrices for one in cost.layers or ()))


def _embeddings(cost: ModelCost) -> int:
    """Of what is outside of layers, the largest that is split by itself."""
    rest = _outside_of_layers(cost)
    if not cost.layers or not cost.vocab_size:
        return rest
    return min(rest, cost.vocab_size * max(one.width for one in cost.layers))


def _largest_layer(cost: ModelCost) -> int:
    return max((one.matrices for one in cost.layers or ()), default=0)


def needed(one: Need, workers: Workers) -> int:
    """Bytes to compare with a limit: on a CPU the device's memory is the machine's."""
    if workers.gpus:
        return max(one.total, one.loading_device)
    return max(one.total + one.host, one.loading_host)


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
