"""Which cluster a command speaks to, and the token it shows there.

Knows the order: `--address`, PLATFORM_ADDRESS, RAY_ADDRESS, the running local cluster. Sends nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from trainshed.client.local_cluster import LocalCluster, find
from trainshed.errors import UsageError

_VARIABLES = ("PLATFORM_ADDRESS", "RAY_ADDRESS")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """A dashboard's URL without a slash at its end; `local` where it is the cluster that the platform started."""

    url: str
    token: str | None
    local: LocalCluster | None


def find_address(home: Path, explicit: str | None) -> Address | None:
    """The cluster to use, or None if none is named and none runs here.

    Raises UsageError for an address that is not a dashboard's, and for a token file that cannot be read.
    """
    local = find(home)
    source, given = _given(explicit)
    if not source:
        return Address(local.dashboard_url, local.token, local) if local else None
    url = _dashboard_url(source, given)
    if local is not None and _endpoint(url) == _endpoint(local.dashboard_url):
        return Address(url, local.token, local)
    return Address(url, _remote_token(), None)


def _given(explicit: str | None) -> tuple[str, str]:
    if explicit is not None:
        return "--address", explicit.strip()
    values = ((name, os.environ.get(name, "").strip()) for name in _VARIABLES)
    return next(((name, value) for name, value in values if value), ("", ""))


def _dashboard_url(source: str, given: str) -> str:
    try:
        parts = urlsplit(given)
        valid = parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        valid = False
    if not valid:
        raise UsageError(
            f"{source}: {given!r} is not the address of a Ray dashboard; give that one, such as http://HOST:8265"
        )
    return given.rstrip("/")


def _endpoint(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme, "127.0.0.1" if host == "localhost" else host, parts.port or _DEFAULT_PORTS[parts.scheme]


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
