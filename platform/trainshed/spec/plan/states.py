"""What an engine keeps of a model on one worker: parameters, gradients, optimizer states, and its own buffers.

After arXiv 1910.02054, section 3, as DeepSpeed 0.19 really does it (benchmarks/memory.py measures it): fp32 master
weights in stages 1 to 3 whatever the precision, and whole gradients between the passes of a step in stage 1. Under
stage 3 parameters of fewer than 100,000 numbers stay whole on every worker: norms and biases, too small to count here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trainshed.spec.plan.layers import FP32
from trainshed.spec.plan.layouts import Layout
from trainshed.spec.plan.model import WIDTHS, ModelCost, activation_bytes
from trainshed.spec.training.optimizers import moments
from trainshed.spec.training.train import Training

SMALLEST_BUCKET, LARGEST_BUCKET = 1 << 20, 5 * 10**8
"""Numbers in the buffer that gradients are added up in."""
MOST_GATHERED = 10**9
"""Numbers of parameters that stage 3 holds whole at once, DeepSpeed's stage3_max_live_parameters."""


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


def bucket_numbers(parameters: int) -> int:
    """Numbers in DeepSpeed's buffer for gradients."""
    return max(SMALLEST_BUCKET, min(parameters, LARGEST_BUCKET))


def states(training: Training, cost: ModelCost, layout: Layout, *, workers: int | None = None) -> Need:
    """Bytes of states on one worker between two passes of a step, the most there are; without activations.

    `workers` is how many there are, where the job leaves it open; else the fewest it allows, who hold more each.
    """
    assert cost.parameters is not None
    assert cost.trainable is not None
    count, trained = cost.parameters, cost.trainable
    kept, width = moments(training.optimizer), WIDTHS[training.precision]
    average = trained * FP32 if training.regularization.ema_decay else 0
    if layout.engine == "ddp":  # autocast: weights stay fp32, and their half-precision copies live through a pass
        return Need(
            layout,
            0,
            parameters=count * FP32,
            gradients=trained * FP32,
            optimizer=trained * kept * FP32,
            buffers=average + (count * width if width < FP32 else 0),
        )
    workers, stage = workers or training.workers.min_count, layout.zero_stage
    split = {what: workers if stage >= first else 1 for first, what in ((1, "optimizer"), (2, "gradients"), (3, "all"))}
    optimizer = trained * (kept + (1 if stage else 0)) * FP32 // split["optimizer"]
    gradients = trained * width // split["gradients"]
    parameters = count * width // split["all"]
    buffers = bucket_numbers(count) * width + average // split["optimizer"]
    if stage == 3:
        buffers += min(count, MOST_GATHERED) * width
    host = disk = 0
    if layout.offload.optimizer != "none":
        host += trained * (FP32 + width) // workers  # gradients, as they come and as the optimizer reads them
        on_disk = layout.offload.optimizer == "nvme"
        host, disk = host + (0 if on_disk else optimizer), disk + (optimizer if on_disk else 0)
        optimizer, gradients = 0, gradients if stage == 1 else 0
    if layout.offload.parameters != "none":
        on_disk = layout.offload.parameters == "nvme"
        host, disk = host + (0 if on_disk else parameters), disk + (parameters if on_disk else 0)
        parameters = 0
    return Need(layout, 0, parameters, gradients, optimizer, buffers=buffers, host=host, disk=disk)


def need(training: Training, cost: ModelCost, layout: Layout, per_device: int, *, checkpointing: bool) -> Need:
    """Everything that one worker needs for passes over `per_device` samples."""
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
