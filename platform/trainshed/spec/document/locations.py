"""Where an existing model lies: a directory, an address, a name on the hub, or what storage calls one of our own."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from trainshed.spec.document.part import like

MODEL_REF = r"^([a-z0-9][a-z0-9-]{0,39}@([1-9][0-9]*|[a-z][a-z0-9-]*)|run://[a-z0-9][a-z0-9-]{0,79})$"
ModelRef = Annotated[str, like(MODEL_REF, "say NAME@VERSION, NAME@latest or run://NAME")]
"""`NAME@N`, `NAME@latest`, `NAME@ALIAS`, or `run://NAME` for a training's export that was not registered."""

InitRef = Annotated[
    str,
    like(
        r"^run://[a-z0-9][a-z0-9-]{0,79}(@[1-9][0-9]{0,8})?$",
        "say run://NAME, or run://NAME@STEP for one of its checkpoints",
    ),
]
"""The weights of a training's checkpoint: those that it exported, or its newest, where no step is said."""

HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")


def is_directory(place: str) -> bool:
    """Whether it names a directory on a disk."""
    return place.startswith("/")


def is_address(place: str) -> bool:
    """Whether it names a folder on an object store."""
    return "://" in place


def is_reference(place: str) -> bool:
    """Whether it names a model that a job of ours has made."""
    return re.fullmatch(MODEL_REF, place) is not None


def _known(place: str) -> str:
    if is_directory(place) or is_address(place) or HUB_NAME.match(place):
        return place
    raise ValueError(f"got {place!r}; say an absolute directory, an s3:// address or a hub name like org/model")


ModelPlace = Annotated[str, StringConstraints(min_length=1), AfterValidator(_known)]
"""An absolute directory, an s3:// or gs:// address, or a name on the Hugging Face hub."""


def _known_or_ours(place: str) -> str:
    if is_reference(place):
        return place
    if place.startswith("run://") or "@" in place.partition("/")[0]:
        raise ValueError(f"got {place!r}; say NAME@VERSION, NAME@latest or run://NAME for a model of your own")
    return _known(place)


WeightsPlace = Annotated[str, StringConstraints(min_length=1), AfterValidator(_known_or_ours)]
"""A `ModelPlace`, or a model of our own in the words of a serve job: NAME@VERSION, NAME@latest, run://NAME."""
