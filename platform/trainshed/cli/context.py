"""Where things are for a command: home, storage, the cluster. Shared options, in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from trainshed import environment
from trainshed.cli.show import say

if TYPE_CHECKING:  # these cost tens of milliseconds; `--help` must not pay for them
    from pathlib import Path

    from trainshed.client.address import Address
    from trainshed.record.storage import Storage

AddressOption = typer.Option(
    None,
    "--address",
    metavar="URL",
    help="Ray dashboard, http://HOST:8265. Default: $PLATFORM_ADDRESS, $RAY_ADDRESS, the local cluster.",
)
RunAddressOption = typer.Option(
    None,
    "--address",
    metavar="URL",
    help="Ray dashboard to ask, where it is not the cluster that the run was handed to, or that one is gone for good.",
)
ProfileOption = typer.Option(
    None,
    "--profile",
    metavar="FILE",
    help="Cluster profile: which machines there are, and what they cost. Default: $PLATFORM_PROFILE.",
)
StartTimeoutOption = typer.Option(
    None,
    "--start-timeout",
    metavar="SECONDS",
    min=1.0,
    help="How long the cluster may take until it accepts jobs. Default: 120 for one that is started here, 60 for "
    "another; longer on a busy machine.",
)
JsonOption = typer.Option(False, "--json", help="Print JSON for programs.")


def profile_file(explicit: Path | None) -> Path | None:
    """The file of the cluster profile that is given, or named by PLATFORM_PROFILE; None where neither is."""
    return explicit or environment.profile_file()


def home() -> Path:
    """PLATFORM_HOME, or ~/.trainshed."""
    from trainshed.client.home import platform_home

    return platform_home()


def storage() -> Storage:
    """PLATFORM_STORAGE, or the home."""
    from trainshed.record.storage import Storage

    return Storage.open(environment.storage_place() or home())


def address_or_none(explicit: str | None) -> Address | None:
    """The cluster that is configured or running here."""
    from trainshed.client.address import find_address

    return find_address(home(), explicit)


def need_address(explicit: str | None) -> Address:
    """The address of the cluster, as `address_or_none`.

    Raises:
        UsageError: no cluster is configured, and none runs here.
    """
    from trainshed.errors import UsageError

    found = address_or_none(explicit)
    if found is None:
        raise UsageError(
            "no cluster: give --address, set PLATFORM_ADDRESS, or start the local one with `platform cluster up`"
        )
    return found


def address_or_local(explicit: str | None, *, start_timeout_s: float | None = None) -> Address:
    """The configured cluster; without one the local cluster, which is started and said."""
    found = address_or_none(explicit)
    if found is not None:
        return found
    from trainshed.client.address import find_address
    from trainshed.client.local_cluster import up

    say("no cluster is configured: starting Ray on this machine")
    cluster, _ = up(home(), say=say, start_timeout_s=start_timeout_s)
    say(f"local cluster at {cluster.dashboard_url}; `platform cluster down` ends it")
    started = find_address(home(), cluster.dashboard_url)
    assert started is not None
    return started
