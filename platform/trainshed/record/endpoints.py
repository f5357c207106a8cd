"""Which endpoints were deployed where: `endpoints/<name>.json`, replaced whole by each deployment."""

from __future__ import annotations

from trainshed.errors import DamagedFile, UsageError
from trainshed.record.facts import EndpointFacts, passed_over, read_facts
from trainshed.record.names import JOB_NAME, is_hidden, is_one
from trainshed.record.results import ServeResult
from trainshed.record.run import now
from trainshed.record.storage import Storage


def endpoint_of(name: str, served: ServeResult) -> EndpointFacts:
    """What is written of an endpoint that has just answered for the first time."""
    said = {key: value for key, value in served.as_json().items() if key != "first_answer"}
    return EndpointFacts.model_validate({"name": name, "deployed_at": now(), **said})


def put_endpoint(storage: Storage, endpoint: EndpointFacts) -> None:
    """Says that it is served."""
    storage.write_json(_path(endpoint.name), endpoint.as_json())


def drop_endpoint(storage: Storage, name: str) -> None:
    """Says that `name` is served no more."""
    storage.delete(_path(name))


def get_endpoint(storage: Storage, name: str) -> EndpointFacts:
    """The endpoint of that name.

    Raises:
        UsageError: there is none.
        DamagedFile: its file is not what a deployment writes.
    """
    found = _read(storage, name) if is_one(JOB_NAME, name) else None
    if found is None:
        known = ", ".join(endpoint.name for endpoint in all_endpoints(storage)) or "none"
        raise UsageError(f"no endpoint {name!r} in {storage.uri}; there: {known}")
    return found


def all_endpoints(storage: Storage) -> list[EndpointFacts]:
    """Every endpoint, by name; a file that is none is passed over."""
    found = []
    for file in storage.names("endpoints"):
        if is_hidden(file):
            continue
        try:
            one = _read(storage, file.removesuffix(".json")) if file.endswith(".json") else None
            if one is None:
                raise DamagedFile(f"{storage.address('endpoints')}/{file}: no endpoint")
            found.append(one)
        except (DamagedFile, OSError) as error:
            passed_over(error)
    return found


def _read(storage: Storage, name: str) -> EndpointFacts | None:
    facts = read_facts(storage, _path(name), EndpointFacts)
    if facts is not None and facts.name != name:
        raise DamagedFile(f"{storage.address(_path(name))}: name: it is of {facts.name!r}")
    return facts


def _path(name: str) -> str:
    return f"endpoints/{name}.json"
