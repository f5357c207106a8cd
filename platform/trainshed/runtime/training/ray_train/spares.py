"""Processes that stand by: everything is loaded in them, so that a group that must start again starts in seconds.

Most of a restart is Python importing torch, transformers and DeepSpeed. A spare has done that before the fault. It asks
for no CPU while it waits; as a worker it runs on what its group's placement group holds. GPU workers have none: Ray
gives a process its GPUs when it is made.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from collections import Counter
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainshed.patience import patience
from trainshed.runtime.importing import without_collector
from trainshed.runtime.training.ray_train.environment import CONTROLLER_ENVIRONMENT, WORKER_ENVIRONMENT
from trainshed.runtime.training.ray_train.seams import RayTrainWorker, Worker, environment_of_workers
from trainshed.spec.training.workers import Workers

ANSWER_S = 5.0
LOADING_S = 60.0
"""Of a process made ahead: it is ahead of any that is made now, so that giving up early only costs more."""
MODULES = ["trainshed.runtime.training.ray_train.host", "trainshed.runtime.training.engines.deepspeed"]
"""What every worker loads, whatever it trains."""
PACKAGES = ("trainshed", "torch", "transformers", "deepspeed", "safetensors", "tokenizers", "numpy", "pyarrow")


class StandbyWorker(RayTrainWorker):  # type: ignore[misc]
    """A Ray Train worker that was made before it was needed; the name tells it from the others in a process list."""


class Spares:
    """The spare processes of one training, by node. Lives in the driver, and they die with it."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, Any, Any]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def make_ahead(self, workers: Workers) -> None:
        """Processes for the first group of a training, before there is one: they load while the driver still does.

        None where they could be on the wrong node, or need GPUs, or where it is not known how many there will be.
        """
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        if workers.gpus or workers.min_count != workers.max_count or len(nodes) != 1:
            return
        os.environ.update(CONTROLLER_ENVIRONMENT)  # a part of it goes to the workers
        environment = environment_of_workers({"env_vars": WORKER_ENVIRONMENT})
        for _ in range(workers.max_count):
            self._add(nodes[0], environment, MODULES)

    def make(self, workers: list[Worker], runtime_env: Any) -> None:
        """One for each worker, on its node; returns at once, they load meanwhile."""
        modules = ray.get(workers[0].execute_async(loaded_modules), timeout=ANSWER_S)
        for node, count in Counter(one.metadata.node_id for one in workers).items():
            for _ in range(count - sum(where == node for where, _, _ in self._waiting)):
                self._add(node, runtime_env, modules)

    def _add(self, node: str, runtime_env: Any, modules: list[str]) -> None:
        made = ray.remote(num_cpus=0, runtime_env=runtime_env)(StandbyWorker)
        actor = made.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
        self._waiting.append((node, actor, actor.execute.remote(load, modules)))

    def take(self, node: str) -> Any | None:
        """A living one of this node; None where there is none. One that still loads is waited for: it is ahead of any
        process that is made now."""
        for spare in [one for one in self._waiting if one[0] == node]:
            self._waiting.remove(spare)
            with contextlib.suppress(Exception):  # it is gone, or cannot load: the next one
                ray.get(spare[2], timeout=patience(LOADING_S).seconds)
                ray.get(spare[1].get_metadata.remote(), timeout=patience(ANSWER_S).seconds)
                return spare[1]
        return None


def loaded_modules() -> list[str]:
    """What a worker that trains has loaded, in the order in which it did."""
    return [name for name in sys.modules if name.split(".")[0] in PACKAGES]


def load(modules: list[str]) -> float:
    """Loads them in this process; seconds."""
    began = time.monotonic()
    with without_collector():
        for name in modules:
            with contextlib.suppress(Exception):  # some exist only once another has made them
                importlib.import_module(name)
    return time.monotonic() - began
