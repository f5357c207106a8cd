"""What the loop asks of checkpoints: go on from the newest whole one, save now, go back to the last."""

from __future__ import annotations

import secrets
from typing import Any, Protocol

import torch.distributed as dist

from trainshed.record.checkpoints import Checkpoint, path_of
from trainshed.record.events import Resumed, Sink
from trainshed.record.storage import Storage
from trainshed.runtime.training.checkpoints.progress import Progress
from trainshed.runtime.training.checkpoints.restore import best_whole, newest_whole, restore
from trainshed.runtime.training.checkpoints.saver import Saver
from trainshed.runtime.training.checkpoints.snapshot import Snapshot
from trainshed.runtime.training.engines import Engine
from trainshed.runtime.training.host import World
from trainshed.spec.training.saving import Checkpoints


class Checkpointing(Protocol):
    """What the loop asks of checkpoints; every worker makes the same calls."""

    metrics: dict[str, Any]
    """What was measured at the step that was resumed from."""
    saved_step: int
    """The last step whose state was copied; after `close` its checkpoint is complete."""

    def resume(self, engine: Engine) -> Progress | None:
        """Restore the newest whole checkpoint; None: there is none."""

    def resume_best(self, engine: Engine) -> Progress | None:
        """Restore the whole checkpoint of the lowest validation loss; None: there is none. Call it after `close`."""

    def due(self, step: int) -> bool:
        """Whether a checkpoint follows this step."""

    def save(self, engine: Engine, progress: Progress, metrics: dict[str, Any]) -> None:
        """Copy the state; the rest happens while training goes on."""

    def committed_step(self) -> int:
        """The step of the newest checkpoint that this worker knows to be complete."""

    def path(self, step: int) -> str:
        """Where the checkpoint of a step lies, relative to the storage."""

    def close(self) -> None:
        """Wait until every worker's last save is through."""


class NoCheckpoints:
    """A keeper that keeps nothing: for benchmarks and tests."""

    def __init__(self) -> None:
        self.metrics: dict[str, Any] = {"step": 0}
        self.saved_step = 0

    def resume(self, engine: Engine) -> Progress | None:
        """None: nothing was kept."""

    def resume_best(self, engine: Engine) -> Progress | None:
        """None: nothing was kept."""

    def due(self, step: int) -> bool:  # noqa: ARG002 - the protocol's
        """Never."""
        return False

    def save(self, engine: Engine, progress: Progress, metrics: dict[str, Any]) -> None:
        """Does nothing."""

    def committed_step(self) -> int:
        """None: nothing was kept."""
        return 0

    def path(self, step: int) -> str:
        """None: nothing was kept."""
        raise RuntimeError(f"a training that keeps no checkpoints was asked for that of step {step}")

    def close(self) -> None:
        """Does nothing: no resource is held."""


class Keeper:
    """The checkpoints of one training, as one worker sees them; every worker makes the same calls."""

    def __init__(self, storage: Storage, folder: str, policy: Checkpoints, world: World, sink: Sink) -> None:
        self._storage = storage
        self._folder = folder
        self._policy = policy
        self._world = world
        self._sink = sink
        self.metrics: dict[str, Any] = {"step": 0}
        """What was measured at the step that was resumed from."""
        self.saved_step = 0
        """The last step whose state was copied; after `close` its checkpoint is complete."""
        self._saver = Saver(
            storage, folder, policy, Snapshot(world.worker, world.workers), token=_token(world), sink=sink
        )

    def resume(self, engine: Engine) -> Progress | None:
        """Restores the newest whole checkpoint; None: there is none."""
        self._saver.wait()
        found = newest_whole(self._storage, self._folder, self._world, self._sink)
        return None if found is None else self._restored(found, engine)

    def resume_best(self, engine: Engine) -> Progress | None:
        """Restores the whole checkpoint of the lowest validation loss; None: there is none. Call it after `close`."""
        found = best_whole(self._storage, self._folder, self._world, self._sink)
        return None if found is None else self._restored(found, engine)

    def due(self, step: int) -> bool:
        """Whether a checkpoint follows this step."""
        return step % self._policy.every_steps == 0

    def save(self, engine: Engine, progress: Progress, metrics: dict[str, Any]) -> None:
        """Copies the state; the rest happens while training goes on."""
        self._saver.save(engine, progress.manifest(metrics))
        self.saved_step = progress.step

    def committed_step(self) -> int:
        """The step of the newest checkpoint that this worker knows to be complete; worker 0 commits."""
        return self._saver.committed_step if self._world.worker == 0 else 0

    def path(self, step: int) -> str:
        """Where the checkpoint of a step lies, relative to the storage."""
        return path_of(self._folder, step)

    def close(self) -> None:
        """Waits until every worker's last save has been committed.

        Raises:
            OSError: the last save failed.
        """
        self._saver.close()
        if self._world.workers > 1:
            dist.barrier()

    def _restored(self, checkpoint: Checkpoint, engine: Engine) -> Progress:
        restore(checkpoint, engine)
        self.metrics = {"step": checkpoint.step, **checkpoint.manifest.metrics}
        self._sink(Resumed(step=checkpoint.step, checkpoint=checkpoint.path))
        return Progress.of(checkpoint.manifest)


def _token(world: World) -> str:
    """The same on every worker, and new for every start of them."""
    held = [secrets.token_hex(4)]
    if world.workers > 1:
        dist.broadcast_object_list(held, src=0)
    return held[0]
