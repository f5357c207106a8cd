"""Processes that stand by: everything is loaded in them, so that a group that must start again starts in seconds.

Most of a restart is Python importing torch, transformers and DeepSpeed. A spare has done that before the fault. It asks
for no CPU while it waits; as a worker it runs on what its group's placement group holds. GPU workers have none: Ray
gives a process its GPUs when it is made.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from collections import Counter
from typing import Any

import ray
from ray.train.v2._internal.execution.worker_group.worker import RayTrainWorker, Worker
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ANSWER_S = 5.0
LOADING_S = 20.0
PACKAGES = ("trainshed", "torch", "transformers", "deepspeed", "safetensors", "tokenizers", "numpy", "pyarrow")


class StandbyWorker(RayTrainWorker):  # type: ignore[misc]
    """A Ray Train worker that was made before it was needed; the name tells it from the others in a process list."""


class Spares:
    """The spare processes of one training, by node. Lives in Ray Train's controller, and dies with it."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, Any, Any]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def make(self, workers: list[Worker], runtime_env: Any) -> None:
        """One for each worker, on its node; returns at once, they load meanwhile."""
        modules = ray.get(workers[0].execute_async(loaded_modules), timeout=ANSWER_S)
        for node, count in Counter(one.metadata.node_id for one in workers).items():
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            for _ in range(count - sum(where == node for where, _, _ in self._waiting)):
                made = ray.remote(num_cpus=0, runtime_env=runtime_env)(StandbyWorker)
                actor = made.options(scheduling_strategy=there).remote()
                self._waiting.append((node, actor, actor.execute.remote(load, modules)))

    def take(self, node: str) -> Any | None:
        """A living one of this node; None where there is none. One that still loads is waited for: it is ahead of any
        process that is made now."""
        for spare in [one for one in self._waiting if one[0] == node]:
            self._waiting.remove(spare)
            with contextlib.suppress(Exception):  # it is gone, or cannot load: the next one
                ray.get(spare[2], timeout=LOADING_S)
                ray.get(spare[1].get_metadata.remote(), timeout=ANSWER_S)
                return spare[1]
        return None


def loaded_modules() -> list[str]:
    """What a worker that trains has loaded, in the order in which it did."""
    return [name for name in sys.modules if name.split(".")[0] in PACKAGES]


def load(modules: list[str]) -> float:
    """Loads them in this process; seconds."""
    began = time.monotonic()
    for name in modules:
        with contextlib.suppress(Exception):  # some exist only once another has made them
            importlib.import_module(name)
    return time.monotonic() - began
