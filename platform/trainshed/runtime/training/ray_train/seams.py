"""Every name of Ray Train that has no public way to it, in one place. Checked against Ray 2.60.0.

Ray is pinned for these. Where Ray moves one, this file fails to import, and tests/runtime/training/ray_train/
test_seams.py says what else has changed; what each is used for stands beside it. What needs torch is looked up on a
worker: a driver loads none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME
from ray.train.v2._internal.exceptions import InsufficientClusterResourcesError, WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.failure_handling import FailureDecision, FailurePolicy
from ray.train.v2._internal.execution.scaling_policy import NoopDecision, ResizeDecision, ScalingDecision, ScalingPolicy
from ray.train.v2._internal.execution.worker_group.placement_group_handle import DefaultPlacementGroupHandle
from ray.train.v2._internal.execution.worker_group.worker import RayTrainWorker, Worker
from ray.train.v2._internal.execution.worker_group.worker_group import WorkerGroup
from ray.train.v2._internal.util import TrainingFramework, bundle_to_remote_args
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError

__all__ = [
    "CHECKED_AGAINST",
    "CHECKPOINT_MANAGER_SNAPSHOT_FILENAME",
    "SEAMS",
    "ControllerCallback",
    "ControllerError",
    "DataParallelTrainer",
    "DatasetsCallback",
    "DefaultPlacementGroupHandle",
    "FailureDecision",
    "FailurePolicy",
    "InsufficientClusterResourcesError",
    "NoopDecision",
    "PlacementGroupCleanerCallback",
    "RayTrainWorker",
    "ResizeDecision",
    "ScalingDecision",
    "ScalingPolicy",
    "TrainController",
    "TrainingFailedError",
    "TrainingFramework",
    "Worker",
    "WorkerCallback",
    "WorkerGroup",
    "WorkerGroupCallback",
    "WorkerGroupStartupTimeoutError",
    "bundle_to_remote_args",
    "environment_of_workers",
    "free_resources",
    "leave_process_group",
    "name_ranks",
    "on_own_device",
    "resources_of_a_worker",
    "with_ranks",
]

CHECKED_AGAINST = "2.60.0"
"""The version of Ray that every name below was read in and run with."""

SEAMS: dict[str, Any] = {
    "a trainer of a process group, whose own class for torch would load torch in the driver": DataParallelTrainer,
    "what Ray's dashboard says of it": TrainingFramework,
    "a process for Ray Data's shards, which do not feed a training here": DatasetsCallback,
    "a process that, on a cluster with a token, never finds out and never ends": PlacementGroupCleanerCallback,
    "Ray Train's list of checkpoints, which refuses to start where one is gone": CHECKPOINT_MANAGER_SNAPSHOT_FILENAME,
    "there is no room for a group, ever": InsufficientClusterResourcesError,
    "there is no room for a group now": WorkerGroupStartupTimeoutError,
    "hooks of the controller": ControllerCallback,
    "hooks in each worker": WorkerCallback,
    "hooks of the group": WorkerGroupCallback,
    "the controller, which runs in the driver's process": TrainController,
    "start again, or give up": FailureDecision,
    "what is asked after a failure": FailurePolicy,
    "the size of the next group": ScalingPolicy,
    "no change of size": NoopDecision,
    "a group of another size": ResizeDecision,
    "either of them": ScalingDecision,
    "a placement group that the group removes with itself": DefaultPlacementGroupHandle,
    "the actor of a worker": RayTrainWorker,
    "an actor with its rank": Worker,
    "the group of workers": WorkerGroup,
    "resources as an actor's options": bundle_to_remote_args,
    "the controller failed": ControllerError,
    "workers failed": TrainingFailedError,
}
"""What each is used for; tests go through it."""


def name_ranks() -> None:
    """On a worker: sets the variables that torch.distributed reads."""
    from ray.train.torch.config import _set_torch_distributed_env_vars

    _set_torch_distributed_env_vars()


def leave_process_group(*, several: bool) -> None:
    """On a worker: what Ray Train does at the end of a group of torch; a group of one keeps its process group."""
    from ray.train.torch.config import _shutdown_torch

    _shutdown_torch(destroy_process_group=several)


@contextmanager
def on_own_device() -> Iterator[None]:
    """On a worker: its own device is torch's current one."""
    from ray.train.torch.config import TorchConfigContextManager

    with TorchConfigContextManager():
        yield


def free_resources() -> dict[str, dict[str, float]]:
    """What is free on each node, by the node's id."""
    return dict(ray._private.state.available_resources_per_node())


def resources_of_a_worker(scaling_config: Any) -> dict[str, float]:
    """What one worker asks for, defaults included."""
    return dict(scaling_config._resources_per_worker_not_none)


def environment_of_workers(runtime_env: Any) -> Any:
    """A runtime environment with what Ray Train passes on to its workers from the driver's own."""
    return WorkerGroup._get_worker_runtime_env(runtime_env)


def with_ranks(workers: list[Worker]) -> list[Worker]:
    """Workers with their ranks in the process group; nodes stay together."""
    return list(WorkerGroup._assign_worker_ranks(workers, 0, None, None))
