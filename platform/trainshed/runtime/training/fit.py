"""One training on a Ray cluster: a TorchTrainer around the worker function, and what it left behind."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
from ray.exceptions import ActorDiedError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME

from trainshed.errors import PlatformError
from trainshed.record.checkpoints import FOLDER, all_checkpoints
from trainshed.record.storage import Storage
from trainshed.runtime.cause import cause_of
from trainshed.runtime.training.beats import Beats
from trainshed.runtime.training.elastic import FreeRoom
from trainshed.runtime.training.group import GroupWatch
from trainshed.runtime.training.leaving import HearNotice
from trainshed.runtime.training.ray_host import train_worker
from trainshed.runtime.training.restarts import Restarts
from trainshed.runtime.training.warden import Warden, watching
from trainshed.runtime.training.worker import WorkerPlan
from trainshed.spec.train import Training
from trainshed.spec.workers import Workers

WORKER_ENV = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}
CONTROLLER_ENV = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # Ray's 2 s are half the time that a restart takes
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "40",  # the second line behind our heartbeat; Ray's own is 600
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process; we are told by SIGTERM (`leaving.py`)
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10",  # a group that finds no room is sized anew
}


UNWANTED = (
    PlacementGroupCleanerCallback,  # a process that, on a cluster with a token, never finds out and never ends
    DatasetsCallback,  # a process for Ray Data's shards, which do not feed a training here
)
CONTROLLERS = 8
"""So many of Ray Train's controllers one training may use up."""


@dataclass(frozen=True)
class Fitted:
    """How a training ended: the last metrics and the newest checkpoint's folder, relative to the training's."""

    metrics: dict[str, Any]
    checkpoint: str | None
    stopped: bool
    """Whether it saved and ended before its last step, because it was asked to."""


class WatchedTrainer(TorchTrainer):  # type: ignore[misc]
    """A TorchTrainer whose failures, sizes and groups we decide on: Ray Train has no public way to hand these over."""

    def __init__(self, *arguments: Any, beats: Any, spares: bool, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._beats = beats
        self._spares = spares

    def _initialize_and_run_controller(self, **controller: Any) -> Any:
        controller["failure_policy"] = Restarts(self.run_config.failure_config, self._beats)
        if self.scaling_config.elasticity_enabled:
            controller["scaling_policy"] = FreeRoom(self.scaling_config, self._beats)
        theirs = [one for one in controller["callbacks"] if not isinstance(one, UNWANTED)]
        controller["callbacks"] = [GroupWatch(self._beats, spares=self._spares), HearNotice(), *theirs]
        return super()._initialize_and_run_controller(**controller)


def fit(
    plan: WorkerPlan,
    training: Training,
    *,
    say: Callable[[str], None],
    stopping: Callable[[], bool] = lambda: False,
    callbacks: list[Any] | None = None,
) -> Fitted:
    """Runs the workers to the end, restarting them from the last checkpoint where one dies or hangs.

    `say` hears of every fault; `stopping`, asked once a second, makes the workers save and end.

    Raises:
        PlatformError: the training failed; the message is the first failed worker's own error, in one line.
    """
    storage = Storage.open(plan.storage)
    os.environ.update(CONTROLLER_ENV)
    beats = ray.remote(num_cpus=0, max_restarts=-1)(Beats).remote()
    trainer = WatchedTrainer(
        train_worker,
        beats=beats,
        spares=training.workers.spares,
        train_loop_config={"plan": dataclasses.asdict(plan), "beats": beats, "report_validation": bool(callbacks)},
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
        watch = watching(beats, hang_timeout_s=training.workers.hang_timeout_s, say=say, stopping=stopping)
        with watch as warden:
            result = _run(trainer, warden, say, forget=lambda: _forget_reports(storage, plan.folder))
    except Exception as error:
        raise PlatformError(cause_of(error)) from error
    finally:
        ray.kill(beats)
    newest = next(iter(all_checkpoints(storage, plan.folder)), None)
    metrics = result.return_value if isinstance(result.return_value, dict) else {}
    stopped = metrics.pop("notice", None) == "stop"
    return Fitted(metrics, newest.path.removeprefix(f"{plan.folder}/") if newest else None, stopped)


def _run(
    trainer: WatchedTrainer, warden: Warden, say: Callable[[str], None], *, forget: Callable[[], None]
) -> ray.train.Result:
    """To the end of the training; Ray Train's controller is a process like another, and is started again as well."""
    for _ in range(CONTROLLERS - 1):
        forget()
        try:
            return trainer.fit()
        except ActorDiedError:
            say("Ray Train's controller is gone, and its workers with it: starting another")
            warden.controller_gone()
    forget()
    return trainer.fit()


def _forget_reports(storage: Storage, folder: str) -> None:
    """A controller refuses to start where a checkpoint it was told of is gone; we keep the last few and the best."""
    storage.delete(f"{folder}/{FOLDER}/{CHECKPOINT_MANAGER_SNAPSHOT_FILENAME}")


def scaling(workers: Workers) -> ray.train.ScalingConfig:
    """Ray Train's words for the workers of a job."""
    resources = {"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})}
    return ray.train.ScalingConfig(num_workers=workers.count, use_gpu=workers.gpus > 0, resources_per_worker=resources)
