"""Ray Train's controller and the group of workers that it makes, and what we hang onto them.

Plugs into the seams of Ray Train 2.60 that have no public name: the class of the group, its callbacks. The controller
runs in the driver's process: as an actor of its own it would be one more process that starts, takes memory and can die.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import ray
from ray.exceptions import GetTimeoutError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from trainshed.patience import patience
from trainshed.record.events import WorkersStarted
from trainshed.runtime.training.ray_train.seams import (
    ControllerCallback,
    DefaultPlacementGroupHandle,
    RayTrainWorker,
    TrainController,
    Worker,
    WorkerGroup,
    WorkerGroupCallback,
    bundle_to_remote_args,
    environment_of_workers,
    with_ranks,
)
from trainshed.runtime.training.ray_train.spares import Spares
from trainshed.runtime.watch.heartbeat import Member

ANSWER_S = 10.0
SPARES_EVERY_S = 2.0


class ExistingPlacementGroup(DefaultPlacementGroupHandle):  # type: ignore[misc]
    """A placement group that is somebody else's, and outlives the workers."""

    def shutdown(self) -> None:
        """Does nothing: whoever made the group removes it."""


class WatchedGroup(WorkerGroup):  # type: ignore[misc]
    """Ray Train's group; its placement group is known outside, and a spare process becomes a worker where one waits."""

    def __init__(self, *arguments: Any, spares: Spares, place: PlacementGroup | None, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.spares = spares
        self._place = place

    def held(self) -> list[str]:
        """The nodes that it holds a worker's resources on, once for each worker; also where the worker is dead."""
        if not self.has_started():
            return []
        place = self.get_worker_group_state().placement_group_handle.placement_group
        return list(ray.util.placement_group_table(place)["bundles_to_node_id"].values())

    def _create_placement_group(self, scaling_config: Any, worker_group_context: Any) -> Any:
        if self._place is not None:
            return ExistingPlacementGroup(self._place)
        return super()._create_placement_group(scaling_config, worker_group_context)

    def _create_workers(
        self, num_workers: int, placement_group: Any, resources_per_worker: dict[str, float], **others: Any
    ) -> list[Worker]:
        if not len(self.spares):
            return list(super()._create_workers(num_workers, placement_group, resources_per_worker, **others))
        nodes = ray.util.placement_group_table(placement_group)["bundles_to_node_id"]
        made = ray.remote(runtime_env=self.environment(), **bundle_to_remote_args(resources_per_worker))(RayTrainWorker)
        actors = []
        for index in range(num_workers):
            place = PlacementGroupSchedulingStrategy(placement_group, placement_group_bundle_index=index)
            actors.append(self.spares.take(nodes[index]) or made.options(scheduling_strategy=place).remote())
        described = ray.get([actor.get_metadata.remote() for actor in actors])
        workers = [
            Worker(actor, metadata, resources_per_worker, placement_group_bundle_index=index)
            for index, (actor, metadata) in enumerate(zip(actors, described, strict=True))
        ]
        return with_ranks(workers)

    def _init_train_context_on_workers(self, workers: list[Worker], sync_actor: Any, context: dict[str, Any]) -> None:
        """Sets up the context as Ray Train does, whose controller is an actor; here it is the driver."""
        told = [
            worker.actor.init_train_context.remote(
                train_run_context=self._train_run_context,
                distributed_context=worker.distributed_context,
                synchronization_actor=sync_actor,
                storage_context=self._storage_context,
                worker_callbacks=self._worker_callbacks_to_propagate,
                controller_actor=None,  # only asked for all reported checkpoints, which nobody does here
                **{name: values[number] for name, values in context.items()},
            )
            for number, worker in enumerate(workers)
        ]
        ray.get(told)

    def environment(self) -> Any:
        """The runtime environment of its workers."""
        return environment_of_workers(self._train_run_context.run_config.worker_runtime_env)


class GroupMaker:
    """Makes the groups of one training, one after the other, where Ray Train's controller would take a class."""

    def __init__(self, spares: Spares, place: PlacementGroup | None) -> None:
        """`place`: where the workers go, one for each bundle; None: each group makes a placement group of its own."""
        self._spares = spares
        self._place = place
        self.newest: WatchedGroup | None = None

    def create(self, **context: Any) -> WatchedGroup:
        """Creates the group as Ray Train does, known before its start: a failed start would leave resources held."""
        self.newest = WatchedGroup(spares=self._spares, place=self._place, **context)
        self.newest._start()
        return self.newest


def run_controller(groups: GroupMaker, **settings: Any) -> Any:
    """One training from its first group to its end, in this process and thread; Ray Train's result of it.

    Raises:
        Exception: the controller itself failed; a training that failed has its error in the result.
    """
    controller = TrainController(**settings)
    controller.worker_group_cls = groups
    asyncio.run(controller.run())
    return controller.get_result()


class GroupWatch(ControllerCallback, WorkerGroupCallback):  # type: ignore[misc]
    """Tells the beats which processes are the group, frees what a failed start leaves behind, has spares made.

    Ray Train 2.60 forgets a group whose worker dies while the process group is made: its placement group would hold
    the CPUs for ever, and the next group would wait for them.
    """

    def __init__(self, heartbeats: Any, *, spares: bool) -> None:
        self._heartbeats = heartbeats
        self._with_spares = spares
        self._group: Any = None
        self._began = self._asked = 0.0

    def before_worker_group_start(self, worker_group_context: Any) -> None:  # noqa: ARG002 - the name is Ray Train's
        """Before actors are made."""
        if self._group is not None and self._group.has_started():
            self._group.get_worker_group_state().shutdown()
        self._group = None
        self._began = time.monotonic()

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Actors stand. This callback must be the first of its kind: the next one makes the process group."""
        self._group = worker_group
        members = [
            Member(one.distributed_context.world_rank, one.metadata.pid, one.metadata.node_id)
            for one in worker_group.get_workers()
        ]
        ray.get(self._heartbeats.begin.remote(members), timeout=patience(ANSWER_S).seconds)

    def after_worker_group_training_start(self, worker_group: Any) -> None:
        """The train function runs on all."""
        took = time.monotonic() - self._began
        pids = tuple(one.metadata.pid for one in worker_group.get_workers())
        self._heartbeats.tell.remote(WorkersStarted(workers=len(worker_group), seconds=took, processes=pids))

    def after_worker_group_poll_status(self, worker_group_status: Any) -> None:  # noqa: ARG002 - the name is Ray Train's
        """Some times a second. Spares are made once all train: what a worker needs is loaded by then."""
        now = time.monotonic()
        if not self._with_spares or self._group is None or now - self._asked < SPARES_EVERY_S:
            return
        self._asked = now
        spares = self._group.spares
        workers = self._group.get_workers()
        if len(spares) >= len(workers):
            return
        with contextlib.suppress(GetTimeoutError):  # a busy machine makes its spares later; the training goes on
            if ray.get(self._heartbeats.all_train.remote(), timeout=ANSWER_S):
                spares.make(workers, self._group.environment())

    def before_worker_group_shutdown(self, worker_group: Any) -> None:  # noqa: ARG002 - the name is Ray Train's
        """The group ends."""
        self._heartbeats.end.remote()

    def after_worker_group_shutdown(self, worker_group_context: Any) -> None:  # noqa: ARG002 - the name is Ray Train's
        """Forgets the group."""
        self._group = None
