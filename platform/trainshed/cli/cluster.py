"""The verbs about machines: cluster up, status, down, and doctor."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer

from trainshed.cli import context
from trainshed.cli.show import ago, print_facts, print_json, print_table, say, size

PACKAGES = ("ray", "torch", "deepspeed", "transformers", "tokenizers", "pyarrow", "pydantic", "typer")
PYTHONS = ((3, 11), (3, 12), (3, 13))
"""For which there are wheels of all that constraints.txt pins."""
NEED_DISK_BYTES = 5 * 10**9
NEED_MEMORY_BYTES = 4 * 10**9


def add_to(app: typer.Typer) -> None:
    """Adds the verbs."""
    group = typer.Typer(help="The local Ray cluster: up, status, down.", no_args_is_help=True, rich_markup_mode=None)
    group.command()(up)
    group.command()(status)
    group.command()(down)
    app.add_typer(group, name="cluster")
    app.command()(doctor)


def up(
    cpus: int | None = typer.Option(
        None, "--cpus", min=1, help="CPUs Ray may give out. Default: the cores here and one more."
    ),
    start_timeout_s: float | None = context.StartTimeoutOption,
    as_json: bool = context.JsonOption,
) -> None:
    """Start Ray on this machine: loopback, token authentication, ports of its own.

    \b
    platform cluster up
    platform cluster up --start-timeout 600
    """
    from trainshed.client.local_cluster import up as start

    cluster, started = start(context.home(), say=say, cpus=cpus, start_timeout_s=start_timeout_s)
    if not started:
        say("the local cluster runs already")
    _print_cluster(cluster, as_json=as_json)


def status(address: str | None = context.AddressOption, as_json: bool = context.JsonOption) -> None:
    """Show the cluster that commands would use.

    \b
    platform cluster status
    """
    from trainshed.client.jobs_api import JobsClient

    where = context.need_address(address)
    with JobsClient(where.url, where.token) as jobs:
        nodes = jobs.nodes()
        running = [job for job in jobs.list() if not job.terminal]
        ray_version = jobs.version()
    facts = {
        "address": where.url,
        "local": where.local is not None,
        "ray": ray_version,
        "nodes": [{"node_id": node.node_id, "head": node.head, **node.resources} for node in nodes],
        "running": [job.submission_id for job in running],
    }
    if as_json:
        print_json(facts)
        return
    print_facts([(key, facts[key]) for key in ("address", "local", "ray")])
    rows = [
        [
            node.node_id[:12],
            "head" if node.head else "worker",
            f"{node.resources.get('CPU', 0):g}",
            f"{node.resources.get('GPU', 0):g}",
            size(node.resources.get("memory", 0)),
        ]
        for node in nodes
    ]
    print_table(["NODE", "ROLE", "CPUS", "GPUS", "MEMORY"], rows, empty="no nodes")
    print_table(["RUNNING"], [[job.submission_id] for job in running], empty="nothing runs")


def down() -> None:
    """End exactly what `cluster up` started here; endpoints on it end too.

    \b
    platform cluster down
    """
    from trainshed.client.local_cluster import down as end

    if not end(context.home(), say=say):
        say("no local cluster runs")


def doctor(as_json: bool = context.JsonOption) -> None:
    """Check this machine: versions, memory, disk, storage, token, cluster. Exit 1 where something is wrong.

    \b
    platform doctor
    """
    checks: list[tuple[str, Callable[[], tuple[bool, str]]]] = [
        ("python", lambda: (sys.version_info[:2] in PYTHONS, sys.version.split()[0])),
        *((name, lambda name=name: _package(name)) for name in PACKAGES),
        ("memory", _memory),
        ("disk", _disk),
        ("storage", _storage),
        ("home", _home),
        ("cluster", _cluster),
    ]
    found = []
    for name, probe in checks:
        try:
            ok, text = probe()
        except Exception as error:  # a check that breaks is a finding, whatever broke it
            ok = False
            text = f"{type(error).__name__}: {error}"
        found.append({"check": name, "ok": ok, "found": text})
    if as_json:
        print_json(found)
    else:
        print_table(
            ["CHECK", "", "FOUND"],
            [[one["check"], "ok" if one["ok"] else "WRONG", one["found"]] for one in found],
            empty="",
        )
    if not all(one["ok"] for one in found):
        raise typer.Exit(1)


def _print_cluster(cluster: Any, *, as_json: bool) -> None:
    import dataclasses

    if as_json:
        print_json(dataclasses.asdict(cluster))
        return
    print_facts(
        [
            ("address", cluster.dashboard_url),
            ("started", ago(cluster.started_at) if isinstance(cluster.started_at, str) else None),
            ("CPUs", f"{cluster.cpus:g}"),
            ("GPUs", f"{cluster.gpus:g}"),
            ("Ray", cluster.ray_version),
            ("process", cluster.pid),
            ("token", cluster.token_path),
        ]
    )


def _package(name: str) -> tuple[bool, str]:
    try:
        found = version(name)
    except PackageNotFoundError:
        return False, "not installed; run `make setup`"
    wanted = _pins().get(name)
    return wanted in (None, found.split("+")[0]), found if wanted in (
        None,
        found.split("+")[0],
    ) else f"{found}; {wanted} is what was tested"


def _pins() -> dict[str, str]:
    """What the package itself pins exactly."""
    from importlib.metadata import requires

    pairs = (text.split(";")[0].split("==") for text in requires("trainshed") or [])
    return {pair[0].split("[")[0].strip(): pair[1].strip() for pair in pairs if len(pair) == 2}


def _memory() -> tuple[bool, str]:
    import psutil

    memory = psutil.virtual_memory()
    return memory.available > NEED_MEMORY_BYTES, f"{size(memory.available)} free of {size(memory.total)}"


def _disk() -> tuple[bool, str]:
    usage = shutil.disk_usage(context.home())
    return usage.free > NEED_DISK_BYTES, f"{size(usage.free)} free at {context.home()}"


def _storage() -> tuple[bool, str]:
    storage = context.storage()
    storage.write("doctor.txt", b"written by platform doctor\n")
    storage.delete("doctor.txt")
    return True, f"{storage.uri} can be written"


def _home() -> tuple[bool, str]:
    mode = context.home().stat().st_mode & 0o077
    return (
        not mode,
        f"{context.home()} is readable by others; chmod 700 it" if mode else f"{context.home()} is yours alone",
    )


def _cluster() -> tuple[bool, str]:
    from trainshed.client.jobs_api import JobsClient

    where = context.address_or_none(None)
    if where is None:
        return True, "none configured, none running; submit starts one here"
    with JobsClient(where.url, where.token) as jobs:
        return True, f"Ray {jobs.version()} answers at {where.url}"
