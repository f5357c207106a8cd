"""How many workers a group gets where the job gives a range: what there is room for now, and more when there is.

Ray Train's own elastic policy sizes on the cluster's totals, so with a CPU taken by another it asks for what it cannot
get; and it grows by killing the group between checkpoints. Here free resources count, and growing is an order to save
first: no step is lost.
"""

from __future__ import annotations

import time
from typing import Any

import ray

from trainshed.record.events import RoomAwaited, RoomFound
from trainshed.runtime.training.ray_train.group import GroupMaker
from trainshed.runtime.training.ray_train.seams import (
    NoopDecision,
    ResizeDecision,
    ScalingDecision,
    ScalingPolicy,
    free_resources,
    resources_of_a_worker,
)
from trainshed.runtime.watch.heartbeat import Instruction

SETTLE_S = 4.0
"""So long a smaller group waits for what an ended one still holds."""
GROW_EVERY_S = 10.0
PAUSE_S = 0.5


class ElasticScaling(ScalingPolicy):  # type: ignore[misc]
    """Between `min_workers` and `max_workers`, as many as fit into what is free."""

    def __init__(self, scaling_config: Any, heartbeats: Any, groups: GroupMaker) -> None:
        super().__init__(scaling_config)
        self._heartbeats = heartbeats
        self._groups = groups
        self._waiting_since: float | None = None
        self._looked = 0.0
        self._said = False

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        """The next group's size; nothing yet where there is too little room, or where more may be free in a moment."""
        self._maybe_send_resource_request()
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        fewest = self.scaling_config.min_workers
        most = self.scaling_config.max_workers
        # Ray Train ends the old group after this decision: what it holds will be free.
        held = self._groups.newest.held() if self._groups.newest is not None else []
        room = min(self._room(held), most)
        settled = now - self._waiting_since >= SETTLE_S
        if room < fewest or (room < most and not settled):
            if room < fewest and settled and not self._said:
                self._said = True
                self._heartbeats.tell.remote(RoomAwaited(room=room, needed=fewest))
            time.sleep(PAUSE_S)  # Ray Train asks again at once
            return NoopDecision()
        self._waiting_since = None
        self._said = False
        self._looked = now
        return ResizeDecision(num_workers=room, resources_per_worker=self._each())

    def make_decision_for_running_worker_group(
        self,
        worker_group_state: Any,
        worker_group_status: Any,  # noqa: ARG002 - the names are Ray Train's
    ) -> ScalingDecision:
        """Never resizes by force: workers are asked to save, and the group that follows is larger."""
        self._maybe_send_resource_request()
        now = time.monotonic()
        present = worker_group_state.num_workers
        if now - self._looked < GROW_EVERY_S or present >= self.scaling_config.max_workers:
            return NoopDecision()
        self._looked = now
        if room := self._room([]):
            grown = min(present + room, self.scaling_config.max_workers)
            self._heartbeats.tell.remote(RoomFound(room=grown, workers=present))
            self._heartbeats.give.remote(Instruction.REGROUP)
        return NoopDecision()

    def _room(self, held: list[str]) -> int:
        """How many workers fit into what is free now, node by node, and into what is `held` on living nodes."""
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        free = free_resources()
        each = {name: amount for name, amount in self._each().items() if amount > 0}
        fits = [
            int(min(there.get(name, 0.0) // amount for name, amount in each.items()))
            for node, there in free.items()
            if node in alive
        ]
        return sum(fits) + sum(node in alive for node in held)

    def _each(self) -> dict[str, float]:
        return resources_of_a_worker(self.scaling_config)

    def _get_num_workers_for_resource_request(self) -> int:
        return int(self.scaling_config.max_workers)
