"""The settings that the platform takes from environment variables: every `PLATFORM_*` is read here and nowhere else.

Knows their names, what holds where one is not set, and what is refused. Does not know secrets, such as
PLATFORM_API_KEY: a job names those, and `record.secrets` reads them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainshed.errors import UsageError

HOME = "PLATFORM_HOME"
STORAGE = "PLATFORM_STORAGE"
ADDRESS = "PLATFORM_ADDRESS"
PROFILE = "PLATFORM_PROFILE"
SERVE_HOST = "PLATFORM_SERVE_HOST"
SERVE_PORT = "PLATFORM_SERVE_PORT"
CLUSTER_DIR = "PLATFORM_CLUSTER_DIR"
VARIABLES = (HOME, STORAGE, ADDRESS, PROFILE, SERVE_HOST, SERVE_PORT, CLUSTER_DIR)

RAYS_ADDRESS = "RAY_ADDRESS"
LOOPBACK = "127.0.0.1"
DEFAULT_SERVE_PORT = 8000
LARGEST_PORT = 65535
_HERE_UNDER_OTHER_NAMES = ("0.0.0.0", "::", "localhost")  # noqa: S104 - compared with, never bound


@dataclass(frozen=True)
class Setting:
    """A value and who says it, a variable or an option: a message that refuses the value begins with that."""

    said_by: str
    value: str


def home_folder() -> Path:
    """Where this machine's user keeps the platform's own files: `PLATFORM_HOME`, or `~/.trainshed`.

    Raises:
        UsageError: it cannot be told where that is.
    """
    given = os.environ.get(HOME) or "~/.trainshed"
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError as error:  # a user that does not exist
        raise UsageError(f"{HOME}: {given}: {error}; give another folder") from None


def storage_place() -> str | None:
    """`PLATFORM_STORAGE`, a folder or URI; None where it is not set. `record.storage` refuses what is neither."""
    return os.environ.get(STORAGE) or None


def profile_file() -> Path | None:
    """`PLATFORM_PROFILE`, the file of a cluster profile; None where it is not set."""
    given = os.environ.get(PROFILE)
    return Path(given) if given else None


def cluster_address() -> Setting | None:
    """The dashboard to use: `PLATFORM_ADDRESS`, else Ray's own `RAY_ADDRESS`; None where neither is set."""
    for variable in (ADDRESS, RAYS_ADDRESS):
        if value := os.environ.get(variable, "").strip():
            return Setting(variable, value)
    return None


def serve_host() -> str:
    """`PLATFORM_SERVE_HOST`, the address that endpoints listen on; the loopback where it is not set."""
    return os.environ.get(SERVE_HOST, LOOPBACK)


def reachable_serve_host() -> str:
    """The address that reaches endpoints from their own machine: one that stands for all of them is the loopback."""
    host = serve_host()
    return LOOPBACK if host in _HERE_UNDER_OTHER_NAMES else host


def serve_port() -> int:
    """`PLATFORM_SERVE_PORT`, the port that endpoints listen on; 8000 where it is not set.

    Raises:
        UsageError: it is no port.
    """
    given = os.environ.get(SERVE_PORT) or str(DEFAULT_SERVE_PORT)
    if not (given.isascii() and given.isdigit() and 1 <= int(given) <= LARGEST_PORT):
        raise UsageError(f"{SERVE_PORT}: {given}: no port; give a whole number from 1 to {LARGEST_PORT}")
    return int(given)


def of_local_cluster(*, home: Path, serve_port: int, directory: Path) -> dict[str, str]:
    """What every process of a local cluster finds in its environment, so every job on it does."""
    return {HOME: str(home), SERVE_PORT: str(serve_port), CLUSTER_DIR: str(directory)}


def cluster_directory(environment: Mapping[str, str]) -> str | None:
    """The directory of the local cluster that a process with this environment belongs to; None where it is of none."""
    return environment.get(CLUSTER_DIR)
