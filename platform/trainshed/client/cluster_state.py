"""What a home remembers of its local cluster: the files of `<home>/cluster/`, for their owner alone.

state.json says which cluster runs; token, lock, ray.log and start_took_s lie beside it. Knows how a running head is
recognised and reached; starts and ends nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from trainshed.client.processes import alive
from trainshed.errors import ClusterError, DamagedFile
from trainshed.record.facts import passed_over, said_of


@dataclass(frozen=True)
class LocalCluster:
    """A running head: how to reach it and how to recognise its first process."""

    pid: int
    pid_started: float
    dashboard_url: str
    gcs_address: str
    token_path: str
    temp_dir: str
    serve_port: int
    cpus: int
    gpus: int
    started_at: str
    ray_version: str
    log: str

    @property
    def token(self) -> str:
        """The secret that every request must carry.

        Raises:
            ClusterError: its file is gone, or cannot be read.
        """
        try:
            return Path(self.token_path).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ClusterError(
                f"the local cluster runs (process {self.pid}), but its token cannot be read: {error}; "
                "`platform cluster down` ends it"
            ) from None

    @property
    def identity(self) -> str:
        """Tells it from every other local cluster, before it and elsewhere; no secret."""
        made = f"{self.temp_dir} {self.started_at} {self.pid} {self.pid_started}"
        return hashlib.sha256(made.encode()).hexdigest()[:16]


_STATE: TypeAdapter[LocalCluster] = TypeAdapter(LocalCluster)


def find(home: Path) -> LocalCluster | None:
    """The cluster of `home` if its process is alive."""
    cluster = read_state(home)
    return cluster if cluster is not None and alive(cluster.pid, cluster.pid_started) else None


def directory_of(home: Path) -> Path:
    """`<home>/cluster`, made for its owner alone where it is not there."""
    directory = home / "cluster"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def read_state(home: Path) -> LocalCluster | None:
    """What the file says; None where there is none, or one of another version of the platform, which is said."""
    path = _state_path(home)
    try:
        return _STATE.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        passed_over(DamagedFile(f"{path}: {said_of(error)}"))
    except OSError as error:
        passed_over(error)
    return None


def write_state(home: Path, cluster: LocalCluster) -> None:
    """Records this cluster, so that `find` finds it."""
    write_private(_state_path(home), json.dumps(asdict(cluster), indent=2) + "\n")


def forget_state(home: Path) -> None:
    """Removes the record of this home's cluster."""
    _state_path(home).unlink(missing_ok=True)


def last_start_s(home: Path) -> float:
    """How long the last start of a cluster took here; 0 where none was started."""
    try:
        return float(_took_path(home).read_text())
    except (OSError, ValueError):
        return 0.0


def remember_start(home: Path, took_s: float) -> None:
    """Writes down how long a start took."""
    write_private(_took_path(home), f"{took_s:.1f}\n")


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step; nobody but its owner ever can read it."""
    new = path.with_suffix(f".{secrets.token_hex(4)}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """One `up` or `down` of this home at a time."""
    with (directory_of(home) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _state_path(home: Path) -> Path:
    return home / "cluster" / "state.json"


def _took_path(home: Path) -> Path:
    return home / "cluster" / "start_took_s"
