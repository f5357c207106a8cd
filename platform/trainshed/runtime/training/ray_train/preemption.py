"""How a worker process is told to go: SIGTERM is a notice. It saves at the next step boundary, and then it leaves."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from trainshed.runtime.training.ray_train.seams import WorkerCallback

notice_given = threading.Event()
"""Set in a process that was told to go."""


class Preempted(Exception):
    """A worker ends after a save, at a step boundary: nothing is lost, and it counts as no failure."""


class NoticeHandler(WorkerCallback):  # type: ignore[misc]
    """Puts up the signal handler in each worker: the training runs in a thread, handlers run in the main one."""

    def after_init_train_context(self) -> None:
        """Ray Train calls it in the main thread of the worker process."""
        signal.signal(signal.SIGTERM, _on_notice)


def _on_notice(_number: int, _frame: FrameType | None) -> None:
    notice_given.set()
