"""Which cluster a command speaks to, and the token it shows there.

Knows the order: `--address`, PLATFORM_ADDRESS, RAY_ADDRESS, the running local cluster; and, for a run that was handed
over already, its own cluster. Two rules keep tokens where they belong: the local cluster's goes to the local cluster's
own address alone, the remote one to an address that the user named or that this home has handed work to. Sends nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit

from trainshed.client.cluster_state import LocalCluster, find
from trainshed.client.known_clusters import known_url, name_of
from trainshed.environment import Setting, cluster_address
from trainshed.errors import UsageError
from trainshed.record.cluster import ClusterName

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """A dashboard's URL without a slash at its end; `local` where it is the cluster that the platform started."""

    url: str
    token: str | None
    local: LocalCluster | None

    @property
    def name(self) -> ClusterName:
        """How a run remembers it."""
        return name_of(self.url, self.local.identity if self.local else None)


class Unreached(Enum):
    """Why a run's own cluster is not spoken to."""

    ENDED = "this home's local cluster, which has ended"
    ELSEWHERE = "the local cluster of another home or machine"
    UNVOUCHED = "an address that only the storage names"
    """Whoever can write there could have commands speak to any machine, and show it a token."""


def find_address(home: Path, explicit: str | None) -> Address | None:
    """The cluster to use, or None if none is named and none runs here.

    Raises UsageError for an address that is not a dashboard's, and for a token file that cannot be read.
    """
    local = find(home)
    given = _given(explicit)
    if given is None:
        return Address(local.dashboard_url, local.token, local) if local else None
    url = _dashboard_url(given)
    if local is not None and _endpoint(url) == _endpoint(local.dashboard_url):
        return Address(url, local.token, local)
    return Address(url, _remote_token(), None)


def own_address(home: Path, name: ClusterName) -> Address | Unreached:
    """The cluster that a run names as its own, where it is the local one, or somebody here vouches for its address."""
    local = find(home)
    if name.local is not None and local is not None and local.identity == name.local:
        return Address(local.dashboard_url, local.token, local)
    known = known_url(home, name)
    if name.local is not None:
        return Unreached.ELSEWHERE if known is None else Unreached.ENDED
    if local is not None and _endpoint(local.dashboard_url) == _endpoint(name.url):
        return Address(local.dashboard_url, local.token, local)
    given = _given(None)
    if given is not None and same_cluster(_dashboard_url(given), name.url):
        return find_address(home, None) or Unreached.UNVOUCHED
    return Unreached.UNVOUCHED if known is None else Address(known, _remote_token(), None)


def same_cluster(one: str, other: str) -> bool:
    """Whether two addresses are the same dashboard's, whatever user name stands in them."""
    if not _endpoint(one)[0] or _endpoint(one) != _endpoint(other):
        return False
    return urlsplit(one).path.rstrip("/") == urlsplit(other).path.rstrip("/")


def _given(explicit: str | None) -> Setting | None:
    return Setting("--address", explicit.strip()) if explicit is not None else cluster_address()


def _dashboard_url(given: Setting) -> str:
    try:
        parts = urlsplit(given.value)
        valid = parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        valid = False
    if not valid:
        raise UsageError(
            f"{given.said_by}: {given.value!r} is not the address of a Ray dashboard; give that one, "
            "such as http://HOST:8265"
        )
    return given.value.rstrip("/")


def _endpoint(url: str) -> tuple[str, str, int]:
    """Scheme, host and port; no scheme where it is no address at all."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):  # it comes from storage
        return "", url, 0
    return parts.scheme, "127.0.0.1" if host == "localhost" else host, port


def _remote_token() -> str | None:
    """Ray's own rule for its token: the variable, the file that a variable names, ~/.ray/auth_token."""
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    named = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    path = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
    try:
        return path.read_text().strip() or None
    except FileNotFoundError as error:
        if not named:
            return None
        raise UsageError(f"RAY_AUTH_TOKEN_PATH: no file {named!r}; name the file that holds the token") from error
    except OSError as error:
        raise UsageError(f"the token file {str(path)!r} cannot be read: {error.strerror}") from error
