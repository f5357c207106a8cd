"""Which cluster a run was handed to, as its job.json says it.

Storage may have been written by anybody: what stands there is a name to compare with, never an address to send to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import StringConstraints, ValidationError

from trainshed.spec.document.part import Part

KEY = "cluster"
URL_PATTERN = r"^https?://[!-?A-~]{1,500}$"
"""Printable, without a blank, and without `@`: a password in an address stays in the home that it was given to."""


class ClusterName(Part):
    """A cluster as its runs remember it."""

    url: Annotated[str, StringConstraints(pattern=URL_PATTERN)]
    """Of its dashboard, without a slash at the end."""
    local: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")] | None = None
    """Of a cluster that the platform started on the machine it was called on: which one. Its address is nothing to any
    other machine, and a later local cluster may have the same."""


def cluster_of(job: Mapping[str, Any]) -> ClusterName | None:
    """What job.json says; None where it says nothing, as runs of former versions do, or nothing that can be."""
    try:
        return ClusterName.model_validate(job.get(KEY))
    except ValidationError:
        return None
