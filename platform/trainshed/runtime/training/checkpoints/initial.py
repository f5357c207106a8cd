"""The weights of another training's checkpoint, for one that has not begun; its optimizer starts afresh.

Knows checkpoints as files and engines; `restore` knows how whole states are read.
"""

from __future__ import annotations

import torch.distributed as dist

from trainshed.errors import PlatformError
from trainshed.record.checkpoints import all_checkpoints
from trainshed.record.events import Log, Sink
from trainshed.record.facts import parse_facts
from trainshed.record.results import InitOrigin
from trainshed.record.storage import Storage
from trainshed.runtime.training.checkpoints.restore import restore_weights
from trainshed.runtime.training.engines import Engine
from trainshed.runtime.training.host import World
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.spec.training.train import Training


def begin_from_checkpoint(training: Training, plan: WorkerSpec, engine: Engine, world: World, sink: Sink) -> None:
    """Gives a fresh engine the weights that `init_from` names; does nothing where it names none, or has begun before.

    Raises:
        PlatformError: the checkpoint is gone, damaged, or of a model of another shape.
    """
    storage = Storage.open(plan.storage)
    if training.init_from is None or _has_begun(storage, plan.folder, world):
        return
    if training.init_from not in plan.weights:
        raise PlatformError(f"init_from: nothing says which checkpoint {training.init_from} means")
    origin = parse_facts(plan.weights[training.init_from], InitOrigin, training.init_from)
    place = f"runs/{origin.run_id}"
    checkpoint = next((one for one in all_checkpoints(storage, place) if one.step == origin.init_step), None)
    if checkpoint is None:
        raise PlatformError(f"init_from: the checkpoint of step {origin.init_step} of {origin.run_id} is gone")
    restore_weights(checkpoint, engine)
    if world.worker == 0:
        sink(Log(message=f"begins with the weights of {origin.run_id} after step {origin.init_step}"))


def _has_begun(storage: Storage, folder: str, world: World) -> bool:
    """Whether the training has a checkpoint of its own to go on from; what worker 0 sees counts."""
    held = [bool(all_checkpoints(storage, folder))]
    if world.workers > 1:
        dist.broadcast_object_list(held, src=0)
    return held[0]
