"""Which processes belong to one cluster on this machine, and ending exactly those.

Knows process ids, creation times and what betrays a process's cluster: its ancestors, its session, the cluster's
directory in its environment or above the files it writes. Knows nothing of Ray's own programs. A pid alone never
identifies: every process is held as (pid, creation time), which psutil checks before each signal.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

from trainshed.environment import cluster_directory

_SWEEPS = 5
_POLL_S = 0.05


def alive(pid: int, started: float) -> psutil.Process | None:
    """The process of that pid if it is the one created at `started`, and not a zombie."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < 0.01
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def end_cluster(root: psutil.Process | None, directory: Path, *, grace_s: float) -> None:
    """End the cluster whose first process is `root` (None: it has gone) and whose files lie in `directory`.

    `root` is asked with SIGTERM and ends its own children; after `grace_s` seconds, whatever was seen to belong to
    the cluster before or is seen now is killed, until nothing is left.
    """
    known: set[psutil.Process] = set()
    if root is not None:
        known = _members(directory) | _descendants(root)
        _signal(root, force=False)
        _wait(known, grace_s)
    for _ in range(_SWEEPS):
        left = {process for process in known | _members(directory) if _runs(process)}
        if not left:
            return
        for process in left:
            _signal(process, force=True)
        _wait(left, grace_s)


def _descendants(root: psutil.Process) -> set[psutil.Process]:
    """`root`, its children's children, and every process of its session (Ray's workers keep theirs when orphaned)."""
    try:
        children = root.children(recursive=True)
    except psutil.NoSuchProcess:
        return set()
    session = {process for process in psutil.process_iter() if _session(process.pid) == root.pid}
    return {root, *children, *session} - {psutil.Process()}


def _members(directory: Path) -> set[psutil.Process]:
    """Every process that carries the cluster's directory, save this one."""
    return {process for process in psutil.process_iter() if process.pid != os.getpid() and _carries(process, directory)}


def _carries(process: psutil.Process, directory: Path) -> bool:
    """Whether its environment names the directory, or it writes below it.

    Ray writes the titles of some processes over their arguments and environment; their log files still tell. Who only
    reads a log is a bystander.
    """
    try:
        if cluster_directory(process.environ()) == str(directory):
            return True
        written = (file.path for file in process.open_files() if getattr(file, "mode", "r") != "r")
        return any(path.startswith(f"{directory}/") for path in written)
    except psutil.Error:  # ended meanwhile, or another user's
        return False


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(processes: set[psutil.Process], limit_s: float) -> None:
    """Waits until all have ended. A zombie counts as ended: in a container its new parent may never reap it."""
    give_up_at = time.monotonic() + limit_s
    while any(_runs(process) for process in processes) and time.monotonic() < give_up_at:
        time.sleep(_POLL_S)
    psutil.wait_procs(processes, timeout=0)  # takes note of those that were this process's own children


def _signal(process: psutil.Process, *, force: bool) -> None:
    try:
        if force:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        pass
