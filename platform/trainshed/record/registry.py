"""Model versions `NAME@N` and aliases as small JSON files: a version is created once, an alias is replaced whole.

models/<name>/versions/<N>.json   {"run_id", "model", "fingerprint", "metrics", "created_at"}
models/<name>/aliases/<alias>.json   {"version"}
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from trainshed.errors import UsageError
from trainshed.record.run import now
from trainshed.record.storage import Storage


@dataclass(frozen=True)
class ModelVersion:
    """One registered export."""

    name: str
    version: int
    facts: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def register(storage: Storage, name: str, facts: dict[str, Any]) -> ModelVersion:
    """Makes the next version of `name`; two at once get two numbers."""
    number = max(_numbers(storage, name), default=0) + 1
    facts = {"name": name, "created_at": now(), **facts}
    while not storage.create(f"models/{name}/versions/{number}.json", json.dumps(facts, indent=2).encode()):
        number += 1
    return ModelVersion(name, number, facts)


def resolve(storage: Storage, reference: str) -> ModelVersion:
    """What `NAME@N`, `NAME@latest` or `NAME@ALIAS` points at now.

    Raises:
        UsageError: there is no such model, version or alias.
    """
    name, _, selector = reference.partition("@")
    numbers = _numbers(storage, name)
    if not numbers:
        raise UsageError(f"no model {name!r} is registered in {storage.uri}; `platform models` lists them")
    number = max(numbers) if selector in ("", "latest") else int(selector) if selector.isdigit() else None
    if number is None:
        alias = storage.read_json(f"models/{name}/aliases/{selector}.json")
        number = int(alias["version"]) if alias else None
    if number not in numbers:
        known = ", ".join(map(str, sorted(numbers)))
        raise UsageError(f"{reference}: no such version or alias; versions of {name}: {known}")
    return ModelVersion(name, number, storage.read_json(f"models/{name}/versions/{number}.json"))


def set_alias(storage: Storage, reference: str, alias: str) -> ModelVersion:
    """Points `alias` at a version, in one replacement.

    Raises:
        UsageError: no such version, or a name that would hide `latest` or a number.
    """
    if alias == "latest" or not alias.replace("-", "").isalnum() or not alias[0].isalpha() or not alias.islower():
        raise UsageError(
            f"alias {alias!r}: lower case letters, digits and hyphens, starting with a letter; not 'latest'"
        )
    version = resolve(storage, reference)
    storage.write_json(f"models/{version.name}/aliases/{alias}.json", {"version": version.version, "set_at": now()})
    return version


def all_versions(storage: Storage) -> list[ModelVersion]:
    """Every version of every model, newest version first within a model."""
    return [
        ModelVersion(name, number, storage.read_json(f"models/{name}/versions/{number}.json"))
        for name in storage.names("models")
        for number in sorted(_numbers(storage, name), reverse=True)
    ]


def aliases(storage: Storage, name: str) -> dict[str, int]:
    """Alias to version number."""
    return {
        file.removesuffix(".json"): int(storage.read_json(f"models/{name}/aliases/{file}")["version"])
        for file in storage.names(f"models/{name}/aliases")
    }


def _numbers(storage: Storage, name: str) -> list[int]:
    stems = (file.removesuffix(".json") for file in storage.names(f"models/{name}/versions"))
    return [int(stem) for stem in stems if stem.isdigit()]
