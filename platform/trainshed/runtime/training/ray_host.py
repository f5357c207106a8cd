"""The host of a worker under Ray Train V2: checkpoints are reported from all workers, off the step path."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch

from trainshed.runtime.training.host import World
from trainshed.runtime.training.worker import WorkerPlan, run_worker


class RayTrainHost:
    """See `trainshed.runtime.training.host.Host`."""

    def __init__(self, *, report_validation: bool) -> None:
        context = ray.train.get_context()
        device: torch.device = ray.train.torch.get_device()
        self.world = World(context.get_world_rank(), context.get_world_size(), device)
        self._report_validation = report_validation

    def resume_folder(self) -> Path | None:
        """The newest checkpoint that Ray Train committed, as a local folder."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        if checkpoint.path.startswith("/") and Path(checkpoint.path).is_dir():
            return Path(checkpoint.path)
        return Path(checkpoint.to_directory(tempfile.mkdtemp(prefix="trainshed-resume-")))

    def validated(self, metrics: dict[str, Any]) -> None:
        """A sweep around this run hears of it; without one metrics.jsonl is enough."""
        if self._report_validation:
            ray.train.report(metrics)

    def checkpointed(self, folder: Path, metrics: dict[str, Any]) -> None:
        """Uploads this worker's part while training goes on; the folder is removed after."""
        ray.train.report(
            metrics,
            checkpoint=ray.train.Checkpoint.from_directory(str(folder)),
            checkpoint_dir_name=f"step-{metrics['step']:07d}",
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.ASYNC,
            delete_local_checkpoint_after_upload=True,
        )


def train_worker(config: dict[str, Any]) -> dict[str, Any]:
    """Ray Train's entry point on every worker."""
    return run_worker(WorkerPlan(**config["plan"]), RayTrainHost(report_validation=config["report_validation"]))
