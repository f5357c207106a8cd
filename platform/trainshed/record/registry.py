"""Model versions `NAME@N` and aliases as small JSON files: a version is created once, an alias is replaced whole.

models/<name>/versions/<N>.json   {"name", "run_id", "model", "fingerprint", "metrics", "created_at", ...}
models/<name>/aliases/<alias>.json   {"version"}
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from trainshed.errors import DamagedFile, UsageError
from trainshed.record.facts import AliasFacts, VersionFacts, passed_over, read_facts
from trainshed.record.names import ALIAS, MODEL_NAME, is_hidden, is_one
from trainshed.record.run import now
from trainshed.record.storage import Storage

NUMBER = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class ModelVersion:
    """One registered export."""

    name: str
    version: int
    facts: VersionFacts

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def register(storage: Storage, facts: VersionFacts) -> ModelVersion:
    """Makes the next version of a name; two at once get two numbers."""
    number = max(_numbers(storage, facts.name), default=0) + 1
    content = json.dumps(facts.as_json(), indent=2).encode()
    while not storage.create(_path(facts.name, number), content):
        number += 1
    return ModelVersion(facts.name, number, facts)


def resolve(storage: Storage, reference: str) -> ModelVersion:
    """What `NAME@N`, `NAME@latest` or `NAME@ALIAS` points at now.

    Raises:
        UsageError: there is no such model, version or alias.
        DamagedFile: its file is not what a registration writes.
    """
    return resolve_among(numbers_of(storage, reference.partition("@")[0]), storage, reference)


def resolve_among(numbers: list[int], storage: Storage, reference: str) -> ModelVersion:
    """Resolves a version as `resolve` does, given the numbers of that model's versions."""
    name, _, selector = reference.partition("@")
    if not numbers:
        raise UsageError(f"no model {name!r} is registered in {storage.uri}; `platform models` lists them")
    number = max(numbers) if selector in ("", "latest") else _selected(storage, name, selector)
    found = _read(storage, name, number) if number in numbers else None
    if found is None:
        known = ", ".join(map(str, sorted(numbers)))
        raise UsageError(f"{reference}: no such version or alias; versions of {name}: {known}")
    return found


def numbers_of(storage: Storage, name: str) -> list[int]:
    """The numbers of a model's versions; none where no model can have that name."""
    return _numbers(storage, name) if is_one(MODEL_NAME, name) else []


def set_alias(storage: Storage, reference: str, alias: str) -> ModelVersion:
    """Points `alias` at a version, in one replacement.

    Raises:
        UsageError: no such version, or a name that would hide `latest` or a number.
    """
    if alias == "latest" or not is_one(ALIAS, alias):
        raise UsageError(
            f"alias {alias!r}: lower case letters, digits and hyphens, starting with a letter; not 'latest'"
        )
    version = resolve(storage, reference)
    storage.write_json(_alias_path(version.name, alias), {"version": version.version, "set_at": now()})
    return version


def all_versions(storage: Storage) -> list[ModelVersion]:
    """Every version of every model, newest version first within a model; a file that is none is passed over."""
    return [version for name in _models(storage) for version in _versions(storage, name)]


def aliases(storage: Storage, name: str) -> dict[str, int]:
    """Alias to version number; a file that is none is passed over."""
    found = {}
    for file in storage.names(f"models/{name}/aliases"):
        alias = file.removesuffix(".json")
        try:
            facts = read_facts(storage, _alias_path(name, alias), AliasFacts) if is_one(ALIAS, alias) else None
        except (DamagedFile, OSError) as error:
            passed_over(error)
            continue
        if facts is not None:
            found[alias] = facts.version
        elif not is_hidden(file):
            passed_over(DamagedFile(f"{storage.address(f'models/{name}/aliases')}/{file}: no alias"))
    return found


def _models(storage: Storage) -> Iterator[str]:
    for name in storage.names("models"):
        if is_one(MODEL_NAME, name):
            yield name
        elif not is_hidden(name):
            passed_over(DamagedFile(f"{storage.address('models')}/{name}: no name of a model"))


def _versions(storage: Storage, name: str) -> Iterator[ModelVersion]:
    try:
        numbers = sorted(_numbers(storage, name), reverse=True)
    except OSError as error:
        passed_over(DamagedFile(f"{storage.address(f'models/{name}')}: {error}"))
        return
    for number in numbers:
        try:
            found = _read(storage, name, number)
        except (DamagedFile, OSError) as error:
            passed_over(error)
            continue
        if found is not None:
            yield found


def _numbers(storage: Storage, name: str) -> list[int]:
    stems = (file.removesuffix(".json") for file in storage.names(f"models/{name}/versions"))
    return [int(stem) for stem in stems if NUMBER.fullmatch(stem)]


def _selected(storage: Storage, name: str, selector: str) -> int | None:
    if NUMBER.fullmatch(selector):
        return int(selector)
    alias = read_facts(storage, _alias_path(name, selector), AliasFacts) if is_one(ALIAS, selector) else None
    return None if alias is None else alias.version


def _read(storage: Storage, name: str, number: int) -> ModelVersion | None:
    facts = read_facts(storage, _path(name, number), VersionFacts)
    if facts is not None and facts.name != name:
        raise DamagedFile(f"{storage.address(_path(name, number))}: name: it is of {facts.name!r}")
    return None if facts is None else ModelVersion(name, number, facts)


def _path(name: str, number: int) -> str:
    return f"models/{name}/versions/{number}.json"


def _alias_path(name: str, alias: str) -> str:
    return f"models/{name}/aliases/{alias}.json"
