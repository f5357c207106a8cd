"""The clusters that this home has handed work to: `<home>/clusters/`, one small file each, for its owner alone.

A token goes to an address that the user named, or that stands here; never to one that only storage names. Knows names
and addresses; sends nothing, and holds no token.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from trainshed.record.cluster import ClusterName

FOLDER = "clusters"
_PRINTABLE = "".join(map(chr, range(ord("!"), ord("~") + 1)))


def name_of(url: str, local: str | None) -> ClusterName:
    """How a run remembers the cluster at this address: without user name and password."""
    parts = urlsplit(url)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
    return ClusterName(url=quote(bare, safe=_PRINTABLE.replace("@", "")), local=local)


def remember(home: Path, name: ClusterName, url: str) -> None:
    """Records that this home uses the cluster at that address."""
    folder = home / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = folder / f".tmp-{secrets.token_hex(8)}"
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(url + "\n")
    aside.replace(folder / _file_of(name))


def known_url(home: Path, name: ClusterName) -> str | None:
    """The address that this home reached that cluster at; None where it never handed anything to it."""
    try:
        return (home / FOLDER / _file_of(name)).read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _file_of(name: ClusterName) -> str:
    return hashlib.sha256(f"{name.url} {name.local or ''}".encode()).hexdigest()[:32]
