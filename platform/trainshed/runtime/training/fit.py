"""One training on a Ray cluster: a TorchTrainer around the worker function, and what it left behind."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import ray.train
from ray.train.torch import TorchTrainer

from trainshed.errors import PlatformError
from trainshed.record.checkpoints import FOLDER, all_checkpoints
from trainshed.record.storage import Storage
from trainshed.runtime.cause import cause_of
from trainshed.runtime.training.ray_host import train_worker
from trainshed.runtime.training.worker import WorkerPlan
from trainshed.spec.train import Training
from trainshed.spec.workers import Workers

WORKER_ENV = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Fitted:
    """How a training ended: the last metrics and the newest checkpoint's folder, relative to the training's."""

    metrics: dict[str, Any]
    checkpoint: str | None


def fit(plan: WorkerPlan, training: Training, *, callbacks: list[Any] | None = None) -> Fitted:
    """Runs the workers to the end, restarting them from the last checkpoint where one dies.

    Raises:
        PlatformError: the training failed; the message is the first failed worker's own error, in one line.
    """
    storage = Storage.open(plan.storage)
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"plan": dataclasses.asdict(plan), "report_validation": bool(callbacks)},
        scaling_config=scaling(training.workers),
        run_config=ray.train.RunConfig(
            name=FOLDER,
            storage_path=storage.path(plan.folder),
            storage_filesystem=None if storage.is_local else storage.fs,
            failure_config=ray.train.FailureConfig(max_failures=training.max_failures),
            worker_runtime_env={"env_vars": WORKER_ENV},
            callbacks=callbacks or [],
        ),
    )
    try:
        result = trainer.fit()
    except Exception as error:
        raise PlatformError(cause_of(error)) from error
    newest = next(iter(all_checkpoints(storage, plan.folder)), None)
    metrics = result.return_value if isinstance(result.return_value, dict) else {}
    return Fitted(metrics, newest.path.removeprefix(f"{plan.folder}/") if newest else None)


def scaling(workers: Workers) -> ray.train.ScalingConfig:
    """Ray Train's words for the workers of a job."""
    resources = {"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})}
    return ray.train.ScalingConfig(num_workers=workers.count, use_gpu=workers.gpus > 0, resources_per_worker=resources)
