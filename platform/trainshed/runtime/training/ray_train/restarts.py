"""What Ray Train's controller does when workers end: start again, or end the run with its cause.

The failure policy of Ray Train 2.60, exchanged. Ray Train's own counts every failure the same: bad data would be read
`max_failures` times, and a long run would die of the faults of months.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from trainshed.errors import PlatformError
from trainshed.record.events import WorkersEnded
from trainshed.runtime.cause import cause_of
from trainshed.runtime.failure import innermost, is_lost
from trainshed.runtime.training.ray_train.preemption import Preempted
from trainshed.runtime.training.ray_train.seams import (
    ControllerError,
    FailureDecision,
    FailurePolicy,
    InsufficientClusterResourcesError,
    TrainingFailedError,
    WorkerGroupStartupTimeoutError,
)

ANSWER_S = 10.0
STARTS_IN_A_ROW = 10


@dataclass(frozen=True)
class Verdict:
    """What to do about a failure, and why, in words."""

    again: bool
    counts: bool
    cause: str


def judge(error: BaseException, *, same_again: bool) -> Verdict:
    """What a failure of the group means. `same_again`: the last failure was this one, at this step.

    Ray's own faults and a worker that is gone are tried again; an error of ours is final: the data or the job is
    wrong. An error of any other code may be the echo of another worker's death, so it must come twice: of the same
    class, at the same step.
    """
    inner = getattr(error, "controller_failure", None)
    if isinstance(inner, InsufficientClusterResourcesError):
        return Verdict(again=False, counts=False, cause=cause_of(inner))
    if isinstance(inner, WorkerGroupStartupTimeoutError):
        return Verdict(again=True, counts=False, cause="the cluster has no room for the workers now")
    failures = innermost(error)
    if all(isinstance(one, Preempted) for one in failures):
        return Verdict(again=True, counts=False, cause=str(failures[0]))
    if any(isinstance(one, PlatformError) for one in failures):
        return Verdict(again=False, counts=False, cause=cause_of(error))
    left = any(isinstance(one, Preempted) for one in failures)
    if any(isinstance(one, RayError) and is_lost(one) for one in failures):
        return Verdict(again=True, counts=not left, cause="a worker's process is gone")
    if all(is_lost(one) for one in failures):  # Ray notices a moment later than the others lose their connection
        worker = min(getattr(error, "worker_failures", {0: None}))
        return Verdict(again=True, counts=True, cause=f"a worker is gone (worker {worker} lost its connection to it)")
    return Verdict(again=left or not same_again, counts=not left, cause=cause_of(error))


def classes(error: BaseException) -> list[str]:
    """What was raised, by each worker that failed: messages hold addresses and process numbers, and never recur."""
    return [f"{type(one).__module__}.{type(one).__qualname__}" for one in innermost(error)]


class Restarts(FailurePolicy):  # type: ignore[misc]
    """Starts the workers again `max_failures` times in a row; a step that no earlier group reached begins anew."""

    def __init__(self, failure_config: Any, heartbeats: Any) -> None:
        super().__init__(failure_config)
        self._heartbeats = heartbeats
        self._in_a_row = 0
        self._said: WorkersEnded | None = None
        self._reached = -1
        self._last: tuple[list[str], int] = ([], -1)

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        """Ray Train asks after each failure of the group or of its start."""
        reached = self._ask(self._heartbeats.furthest, default=self._reached)
        if reached > self._reached:
            self._in_a_row = 0
            self._reached = reached
        signature = (classes(training_failed_error), reached)
        verdict = judge(training_failed_error, same_again=signature == self._last)
        self._last = signature
        self._in_a_row += verdict.counts
        limit = self.failure_config.max_failures
        if isinstance(training_failed_error, ControllerError):  # a start that fails is no fault of the training's
            limit = max(limit, STARTS_IN_A_ROW)
        again = verdict.again and self._in_a_row <= limit
        counted = verdict.counts and again
        event = WorkersEnded(
            step=reached,
            cause=verdict.cause,
            again=again,
            restart=self._in_a_row if counted else None,
            limit=limit,
            hopeless=not verdict.again,
        )
        if event != self._said:  # a group that waits for room asks every few seconds
            self._ask(self._heartbeats.tell, event)
        self._said = event
        return FailureDecision.RETRY if again else FailureDecision.RAISE

    def _ask(self, method: Any, *arguments: Any, default: Any = None) -> Any:
        try:
            return ray.get(method.remote(*arguments), timeout=ANSWER_S)
        except Exception:
            return default
