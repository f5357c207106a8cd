"""Every name of Ray Serve that has no public way to it, in one place. Checked against Ray 2.60.0."""

from __future__ import annotations

from ray._common.tls_utils import add_port_to_grpc_server
from ray.serve._private import replica
from ray.serve._private.deployment_info import DeploymentInfo
from ray.serve.generated.serve_pb2 import DeploymentRoute

__all__ = ["CHECKED_AGAINST", "DeploymentInfo", "DeploymentRoute", "add_port_to_grpc_server", "replica"]

CHECKED_AGAINST = "2.60.0"
"""The version of Ray that every name above was read in and run with.

`replica.add_port_to_grpc_server` binds the port of a replica for other deployments; `own_address.py` exchanges it.
`DeploymentInfo` and `DeploymentRoute` are what Serve's controller keeps of a deployment; `rollout.py` reads from it the
settings of the version before.
"""
