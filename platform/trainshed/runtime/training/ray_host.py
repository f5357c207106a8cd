"""The host of a worker under Ray Train V2."""

from __future__ import annotations

from typing import Any

import ray.train
import ray.train.torch
import torch

from trainshed.record.storage import Storage
from trainshed.runtime.training.host import Notice, World
from trainshed.runtime.training.worker import WorkerPlan, run_worker


class RayTrainHost:
    """See `trainshed.runtime.training.host.Host`."""

    def __init__(self, storage: Storage, *, report_validation: bool) -> None:
        context = ray.train.get_context()
        device: torch.device = ray.train.torch.get_device()
        self.world = World(context.get_world_rank(), context.get_world_size(), device)
        self._storage = storage
        self._report_validation = report_validation

    def notice(self) -> Notice | None:
        """Nobody asks it to end."""
        return None

    def stepped(self, step: int) -> None:
        """Nobody listens."""

    def validated(self, metrics: dict[str, Any]) -> None:
        """A sweep around this run hears of it; without one metrics.jsonl is enough."""
        if self._report_validation:
            ray.train.report(metrics)

    def committed(self, path: str, metrics: dict[str, Any]) -> None:
        """Ray Train is told where the checkpoint lies; it is there already, whole."""
        ray.train.report(
            metrics,
            checkpoint=ray.train.Checkpoint(self._storage.path(path), self._storage.fs),
            checkpoint_dir_name=path.rsplit("/", 1)[-1],
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.NO_UPLOAD,
        )


def train_worker(config: dict[str, Any]) -> dict[str, Any]:
    """Ray Train's entry point on every worker."""
    plan = WorkerPlan(**config["plan"])
    host = RayTrainHost(Storage.open(plan.storage), report_validation=config["report_validation"])
    return run_worker(plan, host)
