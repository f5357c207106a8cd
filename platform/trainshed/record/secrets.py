"""Secrets by name: from the environment, else from a file that only the owner reads. Never in a Record or a job."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from trainshed.errors import UsageError

FOLDER = "secrets"


def find_secret(name: str, home: Path) -> str | None:
    """The value of a secret: `$NAME`, else the file `<home>/secrets/NAME`; None where neither is there."""
    if value := os.environ.get(name):
        return value
    try:
        return (home / FOLDER / name).read_text().strip() or None
    except FileNotFoundError:
        return None


def need_secret(name: str, home: Path) -> str:
    """As `find_secret`.

    Raises:
        UsageError: the secret is nowhere.
    """
    value = find_secret(name, home)
    if value is None:
        raise UsageError(f"the secret {name} is not set; export {name}=... or write it to {home / FOLDER / name}")
    return value


def keep_secret(name: str, value: str, home: Path) -> Path:
    """Writes a secret where the local cluster's processes find it, readable by the owner alone."""
    folder = home / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / name
    aside = folder / f".tmp-{secrets.token_hex(8)}"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(value + "\n")
    os.replace(aside, path)
    return path


def new_key() -> str:
    """A fresh API key: 192 random bits."""
    return f"ts-{secrets.token_urlsafe(24)}"
