"""Has a replica's port for other deployments listen on its node's own address, where Serve 2.60 takes every interface.

The proxy reaches replicas through Ray itself; over this port other deployments could, and it wants the cluster's token.
Serve has no setting for it, so the one function that binds it is exchanged in the replica's process.
"""

from __future__ import annotations

from typing import Any

import ray

from trainshed.runtime.serving.seams import add_port_to_grpc_server, replica


def listen_on_own_address() -> None:
    """Binds this process's server to its own address; called before the replica is ready."""
    replica.add_port_to_grpc_server = _bind


def _bind(server: Any, _everywhere: str) -> int:
    address = ray.util.get_node_ip_address()
    host = f"[{address}]" if ":" in address else address
    return int(add_port_to_grpc_server(server, f"{host}:0"))
