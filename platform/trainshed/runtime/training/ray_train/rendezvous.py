"""Where the workers of a group meet: torch's store and the sockets of its collectives, on the workers' own address.

torch's own store listens on every interface, and asks nobody who it is (pytorch issue 173909): whoever reaches the
machine reads and writes the keys of a running training. Here it gets a socket that is bound to the loopback where all
workers are on one machine, else to the address by which the cluster knows worker 0's node; so do gloo and nccl. A store
has no key there either: the network between the machines of a cluster must be the cluster's own.

Plugs into Ray Train 2.60, whose group it is, in place of its own backend for torch.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psutil
import ray
from ray.exceptions import GetTimeoutError
from ray.train.backend import Backend, BackendConfig

from trainshed.runtime.training.ray_train.seams import (
    TrainingFramework,
    leave_process_group,
    name_ranks,
    on_own_device,
)

LOOPBACK = "127.0.0.1"
MEETING_S = 1800
"""How long workers wait for one another, as Ray Train has it."""
LEAVING_S = 30
"""How long a group's end may take."""
INTERFACE_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
"""By these gloo and nccl are told where to listen; without, gloo takes what the host's name resolves to."""
_chosen: set[str] = set()
"""Those that were set here, and not by whoever knows this cluster's network."""
_doors: list[socket.socket] = []
"""The socket of worker 0, between its opening and the store that takes it over."""


@dataclass
class Rendezvous(BackendConfig):  # type: ignore[misc]
    """What Ray Train needs to know of the process group."""

    backend: str
    """torch's name for it: nccl or gloo."""

    @property
    def backend_cls(self) -> type[RendezvousBackend]:
        """Ray Train asks."""
        return RendezvousBackend

    @property
    def train_func_context(self) -> Callable[[], AbstractContextManager[None]]:
        """Around the function of each worker."""
        return on_own_device

    @property
    def framework(self) -> TrainingFramework:
        """For Ray's dashboard."""
        return TrainingFramework.TORCH


class RendezvousBackend(Backend):  # type: ignore[misc]
    """Makes the process group of the workers, and ends it."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: Rendezvous) -> None:
        """Notes that all workers have started."""
        nodes = {one.metadata.node_id for one in worker_group.get_workers()}
        host, port = worker_group.execute_single(0, open_store_socket, one_machine=len(nodes) == 1)
        worker_group.execute(name_ranks)
        count = len(worker_group)
        made = [
            worker_group.execute_single_async(
                worker,
                meet,
                backend_config.backend,
                place=(host, port),
                worker=worker,
                workers=count,
                timeout_s=MEETING_S,
            )
            for worker in range(count)
        ]
        ray.get(made)

    def on_shutdown(self, worker_group: Any, backend_config: Rendezvous) -> None:  # noqa: ARG002
        """Ray Train is about to end the workers."""
        left = worker_group.execute_async(leave_process_group, several=len(worker_group) > 1)
        with suppress(GetTimeoutError):
            ray.get(left, timeout=LEAVING_S)


def open_store_socket(*, one_machine: bool) -> tuple[str, int]:
    """On worker 0: where the store will listen, already bound, so that nobody else gets the port."""
    address = LOOPBACK if one_machine else ray.util.get_node_ip_address()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    door = socket.create_server((address, 0), family=family)
    _doors[:] = [door]
    return address, door.getsockname()[1]


def meet(backend: str, *, place: tuple[str, int], worker: int, workers: int, timeout_s: float) -> None:
    """On each worker: the process group of all."""
    import torch.distributed as dist  # heavy: the driver, which reads this file too, needs none of it
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    host, port = place
    listen_on(LOOPBACK if host == LOOPBACK else ray.util.get_node_ip_address())
    os.environ.update(MASTER_ADDR=host, MASTER_PORT=str(port))
    limit = timedelta(seconds=timeout_s)
    door = _doors.pop().detach() if worker == 0 else None
    store = TCPStore(host, port, workers, is_master=worker == 0, timeout=limit, master_listen_fd=door)
    dist.init_process_group(backend, store=store, rank=worker, world_size=workers, timeout=limit)


def listen_on(address: str) -> None:
    """Has gloo and nccl of this process listen on this address alone; what the environment says already stays."""
    found = psutil.net_if_addrs().items()
    interface = next((name for name, held in found if any(one.address == address for one in held)), None)
    for variable in INTERFACE_VARIABLES:
        if interface is not None and (variable not in os.environ or variable in _chosen):
            os.environ[variable] = interface
            _chosen.add(variable)
