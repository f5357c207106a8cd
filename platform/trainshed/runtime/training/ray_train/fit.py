"""One training on a Ray cluster: Ray Train around the worker function, and what it left behind."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
import ray.train
from ray.util.placement_group import PlacementGroup

from trainshed.errors import PlatformError
from trainshed.record.checkpoints import FOLDER, all_checkpoints
from trainshed.record.events import Sink
from trainshed.record.metric_rows import MetricRow
from trainshed.record.names import ExportName
from trainshed.record.results import ExportFacts
from trainshed.record.storage import Storage
from trainshed.runtime.cause import cause_of
from trainshed.runtime.importing import without_collector
from trainshed.runtime.training.ended import Ended
from trainshed.runtime.training.ray_train.elastic import ElasticScaling
from trainshed.runtime.training.ray_train.environment import CONTROLLER_ENVIRONMENT, WORKER_ENVIRONMENT
from trainshed.runtime.training.ray_train.group import GroupMaker, GroupWatch, run_controller
from trainshed.runtime.training.ray_train.preemption import NoticeHandler
from trainshed.runtime.training.ray_train.rendezvous import Rendezvous
from trainshed.runtime.training.ray_train.restarts import Restarts
from trainshed.runtime.training.ray_train.seams import (
    CHECKPOINT_MANAGER_SNAPSHOT_FILENAME,
    DataParallelTrainer,
    DatasetsCallback,
    PlacementGroupCleanerCallback,
)
from trainshed.runtime.training.ray_train.spares import Spares
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.runtime.watch.heartbeat import Heartbeats
from trainshed.runtime.watch.watchdog import watching
from trainshed.spec.training.train import Training
from trainshed.spec.training.workers import Workers

UNWANTED = (
    PlacementGroupCleanerCallback,  # a process that, on a cluster with a token, never finds out and never ends
    DatasetsCallback,  # a process for Ray Data's shards, which do not feed a training here
)


@dataclass(frozen=True)
class Fitted:
    """How a training ended: the last metrics and the newest checkpoint's folder, relative to the training's."""

    last: MetricRow
    checkpoint: str | None
    stopped: bool
    """Whether it saved and ended before its last step, because it was asked to."""
    export: Mapping[ExportName, ExportFacts] = field(default_factory=dict)
    """What was exported, by its folder."""


class WatchedTrainer(DataParallelTrainer):  # type: ignore[misc]
    """A trainer whose failures, sizes and groups we decide on: Ray Train has no public way to hand these over."""

    def __init__(
        self,
        *arguments: Any,
        heartbeats: Any,
        spares: bool,
        standby: Spares,
        place: PlacementGroup | None,
        **settings: Any,
    ) -> None:
        super().__init__(*arguments, **settings)
        self._place = place
        self._heartbeats = heartbeats
        self._standby = standby
        self._spares = spares

    def _initialize_and_run_controller(self, **controller: Any) -> Any:
        groups = GroupMaker(self._standby, self._place)
        controller["failure_policy"] = Restarts(self.run_config.failure_config, self._heartbeats)
        if self.scaling_config.elasticity_enabled:
            controller["scaling_policy"] = ElasticScaling(self.scaling_config, self._heartbeats, groups)
        theirs = [one for one in controller["callbacks"] if not isinstance(one, UNWANTED)]
        controller["callbacks"] = [GroupWatch(self._heartbeats, spares=self._spares), NoticeHandler(), *theirs]
        return run_controller(groups, **controller)


def fit(
    plan: WorkerSpec,
    training: Training,
    *,
    sink: Sink,
    stopping: Callable[[], bool] = lambda: False,
    callbacks: list[Any] | None = None,
    standby: Spares | None = None,
    place: PlacementGroup | None = None,
) -> Fitted:
    """Runs the workers to the end, restarting them from the last checkpoint where one dies or hangs.

    `sink` hears of every fault; `stopping`, asked once a second, makes the workers save and end. `standby` holds
    processes that were made ahead, and become its workers; `place` has a bundle for each, where somebody holds them.

    Raises:
        PlatformError: the training failed; the message is the first failed worker's own error, in one line.
    """
    storage = Storage.open(plan.storage)
    os.environ.update(CONTROLLER_ENVIRONMENT)
    heartbeats = ray.remote(num_cpus=0, max_restarts=-1)(Heartbeats).remote()
    trainer = WatchedTrainer(
        _on_worker,
        heartbeats=heartbeats,
        spares=training.workers.spares,
        standby=standby or Spares(),
        place=place,
        train_loop_config={
            "plan": dataclasses.asdict(plan),
            "heartbeats": heartbeats,
            "report_validation": bool(callbacks),
        },
        scaling_config=scaling(training.workers),
        backend_config=Rendezvous("nccl" if training.workers.gpus else "gloo"),
        run_config=ray.train.RunConfig(
            name=FOLDER,
            storage_path=storage.path(plan.folder),
            storage_filesystem=None if storage.is_local else storage.fs,
            failure_config=ray.train.FailureConfig(max_failures=training.max_failures),
            worker_runtime_env={"env_vars": WORKER_ENVIRONMENT},
            callbacks=callbacks or [],
        ),
    )
    # Ray Train refuses to start where a checkpoint that it was told of is gone; we keep the last few and the best.
    storage.delete(f"{plan.folder}/{FOLDER}/{CHECKPOINT_MANAGER_SNAPSHOT_FILENAME}")
    try:
        with watching(heartbeats, training.workers, sink=sink, stopping=stopping):
            result = trainer.fit()
    except Exception as error:
        raise PlatformError(cause_of(error)) from error
    finally:
        ray.kill(heartbeats)
    ended = result.return_value if isinstance(result.return_value, Ended) else Ended(MetricRow(0, {}), None)
    kept = all_checkpoints(storage, plan.folder)  # the newest first; where the best is exported it is that one
    newest = next((one for one in kept if one.step == ended.last.step), next(iter(kept), None))
    checkpoint = newest.path.removeprefix(f"{plan.folder}/") if newest else None
    return Fitted(ended.last, checkpoint, stopped=ended.notice == "stop", export=ended.export)


def _on_worker(config: dict[str, Any]) -> Ended:
    with without_collector():  # torch and transformers: the driver needs neither
        from trainshed.runtime.training.ray_train.host import train_worker

    return train_worker(config)


def scaling(workers: Workers) -> ray.train.ScalingConfig:
    """Ray Train's words for the workers of a job."""
    resources = {"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})}
    return ray.train.ScalingConfig(num_workers=workers.count, use_gpu=workers.gpus > 0, resources_per_worker=resources)
