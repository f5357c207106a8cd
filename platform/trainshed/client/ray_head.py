"""The command line, environment and ports of a one-machine Ray that shares the machine with others.

Knows Ray's start options and environment variables (checked against Ray 2.60). Does not start anything.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from trainshed.environment import LOOPBACK, of_local_cluster
from trainshed.errors import ClusterError

# Above Ray's own defaults, below the ports that Linux and macOS hand to outgoing connections.
_LOWEST_PORT = 20_000
_HIGHEST_PORT = 32_000
_BLOCK = 16
_MIN_STORE_BYTES = 100 * 2**20
_MAX_STORE_BYTES = 2 * 2**30
_STORE_SHARE = 0.15
# What a shell may hold about another cluster, and must not reach this one.
_FOREIGN = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_NAMESPACE")


@dataclass(frozen=True)
class Ports:
    """One port for everything that listens; workers bind random free ones."""

    gcs: int
    dashboard: int
    agent_http: int
    agent_grpc: int
    metrics_export: int
    runtime_env_agent: int
    node_manager: int
    object_manager: int
    ray_client: int
    dashboard_metrics: int
    autoscaler_metrics: int
    serve: int


def free_ports() -> Ports:
    """A block of neighbouring ports that nothing listens on now."""
    starts = range(_LOWEST_PORT, _HIGHEST_PORT, _BLOCK)
    first = secrets.randbelow(len(starts))  # two clusters that start at once meet in one case of 750
    for start in (*starts[first:], *starts[:first]):
        if all(_free(port) for port in range(start, start + _BLOCK)):
            return Ports(*range(start, start + len(Ports.__dataclass_fields__)))
    raise ClusterError(
        f"no {_BLOCK} free ports side by side between {_LOWEST_PORT} and {_HIGHEST_PORT} on this machine"
    )


def head_command(ports: Ports, *, temp_dir: Path, cpus: int) -> list[str]:
    """`ray start` for a head that stays in the foreground."""
    return [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        f"--node-ip-address={LOOPBACK}",
        f"--port={ports.gcs}",
        "--include-dashboard=true",
        "--include-log-monitor=false",  # it carries logs to drivers, and ours ask for none
        f"--dashboard-host={LOOPBACK}",
        f"--dashboard-port={ports.dashboard}",
        f"--dashboard-agent-listen-port={ports.agent_http}",
        f"--dashboard-agent-grpc-port={ports.agent_grpc}",
        f"--metrics-export-port={ports.metrics_export}",
        f"--runtime-env-agent-port={ports.runtime_env_agent}",
        f"--node-manager-port={ports.node_manager}",
        f"--object-manager-port={ports.object_manager}",
        f"--ray-client-server-port={ports.ray_client}",
        *("--min-worker-port=0", "--max-worker-port=0"),
        f"--num-cpus={cpus}",
        f"--object-store-memory={_object_store_bytes()}",
        f"--temp-dir={temp_dir}",
        "--disable-usage-stats",
        "--log-color=false",
    ]


def head_environment(
    ports: Ports, *, temp_dir: Path, home: Path, token_path: Path, inherited: Mapping[str, str]
) -> dict[str, str]:
    """The environment of the head, and so of every job on it."""
    kept = {name: value for name, value in inherited.items() if name not in _FOREIGN}
    binaries = str(Path(sys.executable).parent)  # a job's `python` is this one
    return kept | {
        "PATH": os.pathsep.join([binaries, inherited.get("PATH", os.defpath)]),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_path),
        # Ray replaces 127.0.0.1 by the address of the network card, which others can reach and which changes with the
        # network. With multi-machine clusters off, everything listens on the loopback: GCS, raylet and metrics too.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "DASHBOARD_METRIC_PORT": str(ports.dashboard_metrics),
        "AUTOSCALER_METRIC_PORT": str(ports.autoscaler_metrics),
        "RAY_gcs_server_port_wait_time_s": "120",  # tries of a second each; Ray's 20 are too few on a busy machine
        # Serve's controller restarts a proxy that is so late, and the port goes with it; Serve's own are 5 and 10.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
        "RAY_DEDUP_LOGS": "0",
        "REPORTER_UPDATE_INTERVAL_MS": "15000",  # of the dashboard's page of nodes; each look is at every process
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # reports and deaths of workers are seen at this interval
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",  # torch warns once per worker and import
        **of_local_cluster(home=home, serve_port=ports.serve, directory=temp_dir),
    }


def default_cpus() -> int:
    """One CPU more than there are cores: it is for what is light, endpoint replicas and the drivers of trials."""
    return (os.cpu_count() or 1) + 1


def _object_store_bytes() -> int:
    share = int(psutil.virtual_memory().total * _STORE_SHARE)
    return max(_MIN_STORE_BYTES, min(_MAX_STORE_BYTES, share))


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))  # every interface: another's listener on any of them is in the way
        except OSError:
            return False
    return True
