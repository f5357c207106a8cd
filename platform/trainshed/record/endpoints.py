"""Which endpoints were deployed where: `endpoints/<name>.json`, replaced whole by each deployment."""

from __future__ import annotations

from typing import Any

from trainshed.errors import UsageError
from trainshed.record.run import now
from trainshed.record.storage import Storage


def put_endpoint(storage: Storage, name: str, facts: dict[str, Any]) -> None:
    """Says that `name` is served: url, model, run_id, key names, lineage fingerprint."""
    storage.write_json(f"endpoints/{name}.json", {"name": name, "deployed_at": now(), **facts})


def drop_endpoint(storage: Storage, name: str) -> None:
    """Says that `name` is served no more."""
    storage.delete(f"endpoints/{name}.json")


def get_endpoint(storage: Storage, name: str) -> dict[str, Any]:
    """The endpoint of that name.

    Raises:
        UsageError: there is none.
    """
    found = storage.read_json(f"endpoints/{name}.json")
    if found is None:
        known = ", ".join(endpoint["name"] for endpoint in all_endpoints(storage)) or "none"
        raise UsageError(f"no endpoint {name!r} in {storage.uri}; there: {known}")
    return dict(found)


def all_endpoints(storage: Storage) -> list[dict[str, Any]]:
    """Every endpoint, by name."""
    return [storage.read_json(f"endpoints/{file}") for file in storage.names("endpoints")]
