"""The cluster that comes with the laptop: one Ray head on the loopback, started and ended by the platform.

Knows processes and Ray's start; `cluster_state` is what a home remembers of it. One home has at most one cluster; two
homes have two, which never touch each other or any other Ray on the machine.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from trainshed.client.cluster_state import (
    LocalCluster,
    directory_of,
    find,
    forget_state,
    last_start_s,
    locked,
    read_state,
    remember_start,
    write_private,
    write_state,
)
from trainshed.client.jobs_api import JobsClient, Unreachable
from trainshed.client.processes import alive, end_cluster
from trainshed.client.ray_head import default_cpus, free_ports, head_command, head_environment
from trainshed.client.ray_log import error_in
from trainshed.environment import LOOPBACK
from trainshed.errors import ClusterError
from trainshed.patience import Wait

Say = Callable[[str], None]

# Ray itself may take half a minute to let a busy worker go.
_GRACE_S = 5.0
_POLL_S = 0.1
# Short, because the paths of Ray's sockets below it may have 107 characters at most.
_TEMP_ROOT = "/tmp"  # noqa: S108
_TEMP_PREFIX = "ts-"


START_S = 120.0
"""So long a start may take on a quiet machine; it takes ten seconds there."""
_RAYS_DEADLINE_S = 28.0
"""Ray's head gives its own raylet 30 s, whatever the machine does besides, and ends. No setting changes that."""


class _EndedByRay(ClusterError):
    """The head ended so late that it may have been its own deadline; a wrong setting ends it at once."""


def up(
    home: Path, *, say: Say, cpus: int | None = None, start_timeout_s: float | None = None
) -> tuple[LocalCluster, bool]:
    """The running cluster of `home`, started if there was none; the flag tells whether it was.

    Raises ClusterError if it is not ready for jobs in time; what was started has then been ended. How long that is
    depends on how busy this machine is and how long the last start took here, unless `start_timeout_s` says it.
    """
    with locked(home):
        wait = _wait_for_start(home, start_timeout_s)
        if (running := find(home)) is not None:
            return _ready(running, wait), False
        say("starting a local Ray cluster")
        while True:
            _remove(home)  # what a cluster that died left behind
            try:
                return _up(home, cpus or default_cpus(), wait), True
            except _EndedByRay as ended:
                if wait.over:
                    raise
                say(f"{ended}; starting it again, since this machine may take {wait}")


def _up(home: Path, cpus: int, wait: Wait) -> LocalCluster:
    """Starts a cluster and waits until it is ready; ends what it started where that fails."""
    began = time.monotonic()
    cluster = _start(home, cpus=cpus)
    try:
        write_state(home, cluster)  # at once: if this process is killed now, `down` still finds the cluster
        cluster = _ready(cluster, wait)
        write_state(home, cluster)
        remember_start(home, time.monotonic() - began)
    except BaseException:
        _end(cluster)
        forget_state(home)
        raise
    return cluster


def down(home: Path, *, say: Say) -> bool:
    """End the cluster of `home` with every process it started and remove its files; False if none was running."""
    with locked(home):
        if running := find(home) is not None:
            say("ending the local Ray cluster")
        _remove(home)
        return running


def _start(home: Path, *, cpus: int) -> LocalCluster:
    directory = directory_of(home)
    token_path = directory / "token"
    log = directory / "ray.log"
    write_private(token_path, secrets.token_hex(32))
    temp_dir = Path(tempfile.mkdtemp(prefix=_TEMP_PREFIX, dir=_TEMP_ROOT))  # 0700; Ray opens its own to everybody
    ports = free_ports()
    environment = head_environment(ports, temp_dir=temp_dir, home=home, token_path=token_path, inherited=os.environ)
    with log.open("wb") as output:
        process = subprocess.Popen(
            head_command(ports, temp_dir=temp_dir / "ray", cpus=cpus),
            env=environment,
            cwd=temp_dir,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return LocalCluster(
        pid=process.pid,
        pid_started=psutil.Process(process.pid).create_time(),
        dashboard_url=f"http://{LOOPBACK}:{ports.dashboard}",
        gcs_address=f"{LOOPBACK}:{ports.gcs}",
        token_path=str(token_path),
        temp_dir=str(temp_dir),
        serve_port=ports.serve,
        cpus=cpus,
        gpus=0,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        ray_version="",
        log=str(log),
    )


def _wait_for_start(home: Path, start_timeout_s: float | None) -> Wait:
    if start_timeout_s is not None:
        return Wait(start_timeout_s, exact=True)
    return Wait(START_S, took_s=last_start_s(home))


def _ready(cluster: LocalCluster, wait: Wait) -> LocalCluster:
    """Wait until the head takes jobs; fills in what only the running head knows."""
    log = Path(cluster.log)
    began = time.monotonic()
    with JobsClient(cluster.dashboard_url, cluster.token, timeout_s=5.0) as jobs:
        while True:
            if not alive(cluster.pid, cluster.pid_started):
                ended = f"the local Ray cluster ended while starting{_manner(cluster.pid)}: {error_in(log)}"
                raise (_EndedByRay if time.monotonic() - began > _RAYS_DEADLINE_S else ClusterError)(ended)
            with contextlib.suppress(Unreachable):
                if (head := jobs.ready_head()) is not None:
                    return replace(cluster, gpus=int(head.resources.get("GPU", 0)), ray_version=jobs.version())
            if wait.over:
                late = f"the local Ray cluster was not ready within {wait}, --start-timeout gives it longer"
                raise ClusterError(f"{late}: {error_in(log)}")
            time.sleep(_POLL_S)


def _manner(pid: int) -> str:
    """How a process ended, in words, where it was this one's child."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return ""
    if not ended:
        return ""
    code = os.waitstatus_to_exitcode(status)
    return f", killed by {signal.Signals(-code).name}" if code < 0 else f" with exit code {code}"


def _end(cluster: LocalCluster) -> None:
    temp_dir = Path(cluster.temp_dir)
    end_cluster(alive(cluster.pid, cluster.pid_started), temp_dir, grace_s=_GRACE_S)
    if temp_dir.name.startswith(_TEMP_PREFIX):
        shutil.rmtree(temp_dir, ignore_errors=True)
    Path(cluster.token_path).unlink(missing_ok=True)


def _remove(home: Path) -> None:
    cluster = read_state(home)
    if cluster is not None:
        _end(cluster)
    forget_state(home)
