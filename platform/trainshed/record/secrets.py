"""Keys of endpoints and trackers by name: from the environment, else from a file of the owner. Never in a Record.

Which addresses a key may be sent to stands in this home as well: storage, which others may write, has no say in it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from trainshed.errors import DamagedFile, UsageError
from trainshed.record.facts import said_of
from trainshed.spec.document.part import SecretName
from trainshed.spec.training.trackers import TRACKER_SECRETS

FOLDER = "secrets"
ADDRESSES = "addresses.json"
"""Beside the keys: a key's name to the addresses that it was made for. No key has a name like it."""

_NAME: TypeAdapter[str] = TypeAdapter(SecretName)
_ADDRESSES: TypeAdapter[dict[str, list[str]]] = TypeAdapter(dict[str, list[str]])


def find_secret(name: str, home: Path) -> str | None:
    """The value of a secret: `$NAME`, else the file `<home>/secrets/NAME`; None where neither is there.

    Raises:
        UsageError: it is no name of an endpoint's key.
        DamagedFile: its file cannot be read.
    """
    _refuse_other_names(name)
    return _find(name, home)


def find_tracker_secret(name: str, home: Path) -> str | None:
    """The value of a tracker's secret, as `find_secret`; its name begins as that tracker's own variables do.

    Raises:
        UsageError: it is no name of a tracker's secret.
        DamagedFile: its file cannot be read.
    """
    _refuse_no_trackers_names(name)
    return _find(name, home)


def keep_tracker_secret(name: str, value: str, home: Path) -> Path:
    """Writes a tracker's secret as `keep_secret` does."""
    _refuse_no_trackers_names(name)
    return _write(home / FOLDER / name, value + "\n")


def _find(name: str, home: Path) -> str | None:
    if value := os.environ.get(name):
        return value
    path = home / FOLDER / name
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedFile(f"the key {path} cannot be read: {error}") from None


def need_secret(name: str, home: Path) -> str:
    """The value of a secret, as `find_secret`.

    Raises:
        UsageError: the secret is nowhere, or it is no name of an endpoint's key.
    """
    value = find_secret(name, home)
    if value is None:
        raise UsageError(f"the secret {name} is not set; export {name}=... or write it to {home / FOLDER / name}")
    return value


def keep_secret(name: str, value: str, home: Path) -> Path:
    """Writes a secret where the local cluster's processes find it, readable by the owner alone."""
    _refuse_other_names(name)
    return _write(home / FOLDER / name, value + "\n")


def may_go_to(name: str, url: str, home: Path) -> bool:
    """Whether a secret was made for the endpoint at this address, or was sent there before because the user said so."""
    return url in _addresses(home).get(name, [])


def let_go_to(name: str, url: str, home: Path) -> None:
    """Allows the secret to be sent to this address."""
    _refuse_other_names(name)
    known = _addresses(home)
    if url not in known.get(name, []):
        known[name] = [*known.get(name, []), url]
        _write(home / FOLDER / ADDRESSES, json.dumps(known, indent=2) + "\n")


def new_key() -> str:
    """A fresh API key: 192 random bits."""
    return f"ts-{secrets.token_urlsafe(24)}"


def _refuse_other_names(name: str) -> None:
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        raise UsageError(f"the name of a secret: {said_of(error)}") from None


def _refuse_no_trackers_names(name: str) -> None:
    if not any(re.fullmatch(pattern, name) for pattern in TRACKER_SECRETS):
        raise UsageError(f"{name} is no name of a tracker's secret, like MLFLOW_TRACKING_TOKEN or WANDB_API_KEY")


def _addresses(home: Path) -> dict[str, list[str]]:
    path = home / FOLDER / ADDRESSES
    try:
        return _ADDRESSES.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        said = said_of(error) if isinstance(error, ValidationError) else str(error)
        raise DamagedFile(f"{path}: {said}; remove it, and say where keys may go with `platform ask --key`") from None


def _write(path: Path, content: str) -> Path:
    """Replaces the file in one step; nobody but its owner ever can read it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.parent / f".tmp-{secrets.token_hex(8)}"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    os.replace(aside, path)
    return path
