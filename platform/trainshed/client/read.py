"""Job files and the cluster profile that they are priced with, read from this disk and checked, each by itself.

Knows files. Storage and clusters are for the steps behind it: what is wrong in itself pays for none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainshed.errors import SpecError
from trainshed.spec.load import LoadedJob, load_files

if TYPE_CHECKING:  # most submissions have none
    from trainshed.cluster.profile import Profile


@dataclass(frozen=True)
class Asked:
    """The user's input: job files and overrides."""

    loaded: tuple[LoadedJob, ...]
    profile: Profile | None


def read(files: Sequence[Path], sets: Sequence[str], profile: Path | None) -> Asked:
    """Job files and the profile, which are wrong together: all faults of both at once.

    Raises:
        SpecError: every fault found.
    """
    try:
        loaded = load_files(files, sets)
    except SpecError as of_jobs:
        try:
            _profile(profile)
        except SpecError as of_profile:
            raise SpecError([*of_jobs.faults, *of_profile.faults]) from None
        raise
    return Asked(tuple(loaded), _profile(profile))


def _profile(file: Path | None) -> Profile | None:
    if file is None:
        return None
    from trainshed.cluster.profile import load_profile

    return load_profile(file)
