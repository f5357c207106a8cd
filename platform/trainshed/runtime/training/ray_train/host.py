"""The host of a worker under Ray Train V2: passes on what the driver wants, and tells it where the worker is."""

from __future__ import annotations

from collections.abc import Callable
from posixpath import normpath
from typing import Any

import ray.train
import ray.train.torch
import torch

from trainshed.record.storage import Storage
from trainshed.runtime.training.ended import Ended, Notice
from trainshed.runtime.training.host import Host, World
from trainshed.runtime.training.ray_train.preemption import Preempted, notice_given
from trainshed.runtime.training.scoring.evaluating import evaluate_worker
from trainshed.runtime.training.scoring.worker import score_worker
from trainshed.runtime.training.worker import run_worker
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.runtime.watch.heartbeat import HeartbeatSender, Instruction

WORK: dict[str, Callable[[WorkerSpec, Host], Ended]] = {
    "train": run_worker,
    "score": score_worker,
    "evaluate": evaluate_worker,
}
"""By the `work` of a `WorkerSpec`."""


class RayTrainHost:
    """See `trainshed.runtime.training.host.Host`."""

    def __init__(self, sender: HeartbeatSender, storage: Storage, *, steps: int, report_validation: bool) -> None:
        context = ray.train.get_context()
        device: torch.device = ray.train.torch.get_device()
        self.world = World(context.get_world_rank(), context.get_world_size(), device)
        self._pulse = sender
        self._storage = storage
        self._steps = steps
        self._report_validation = report_validation

    def notice(self) -> Notice | None:
        """Stop: the driver passed it on. Leave: this process got SIGTERM, or a larger group is to follow."""
        if self._pulse.order is Instruction.STOP:
            return "stop"
        return "leave" if notice_given.is_set() or self._pulse.order is Instruction.REGROUP else None

    def stepped(self, step: int) -> None:
        """The next heartbeat says so; after the last step come an upload and an export, which may take their time."""
        self._pulse.step = step
        self._pulse.phase = "training" if step < self._steps else "ending"

    def validated(self, metrics: dict[str, Any]) -> None:
        """A sweep around this run hears of it; without one metrics.jsonl is enough."""
        if self._report_validation:
            ray.train.report(metrics)

    def committed(self, path: str, metrics: dict[str, Any]) -> None:
        """Ray Train is told where the checkpoint lies; it is there already, whole, so nothing is copied."""
        ray.train.report(
            metrics,
            checkpoint=ray.train.Checkpoint(normpath(self._storage.path(path)), self._storage.fs),
            checkpoint_dir_name=path.rsplit("/", 1)[-1],
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.NO_UPLOAD,
        )


def train_worker(config: dict[str, Any]) -> Ended:
    """Ray Train's entry point on every worker.

    Raises:
        Preempted: the group saved before its last step, and is to start again elsewhere or larger.
    """
    plan = WorkerSpec(**config["plan"])
    sender = HeartbeatSender(config["heartbeats"], ray.train.get_context().get_world_rank())
    storage = Storage.open(plan.storage)
    host = RayTrainHost(sender, storage, steps=plan.training["steps"], report_validation=config["report_validation"])
    ended = WORK[plan.work](plan, host)
    if ended.notice == "leave":
        raise Preempted(f"saved after step {ended.last.step} and left, as asked")
    return ended
