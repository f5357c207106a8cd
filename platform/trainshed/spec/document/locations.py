"""Where an existing model lies: a directory, an address, or a name on the hub."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")


def is_directory(place: str) -> bool:
    """Whether it names a directory on a disk."""
    return place.startswith("/")


def is_address(place: str) -> bool:
    """Whether it names a folder on an object store."""
    return "://" in place


def _known(place: str) -> str:
    if is_directory(place) or is_address(place) or HUB_NAME.match(place):
        return place
    raise ValueError(f"got {place!r}; say an absolute directory, an s3:// address or a hub name like org/model")


ModelPlace = Annotated[str, StringConstraints(min_length=1), AfterValidator(_known)]
"""An absolute directory, an s3:// or gs:// address, or a name on the Hugging Face hub."""
