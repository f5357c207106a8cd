"""The names of the classes, from every label there is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from trainshed.errors import PlatformError
from trainshed.spec.data.values import name_of

MAX_CLASSES = 10_000
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


def class_names(batches: Iterable[dict[str, Any]]) -> list[str]:
    """Every name there is, in their order; batches have columns `label`, as JSON, and `origin`.

    Raises:
        PlatformError: there are too many, or some are booleans and others are not.
    """
    names: set[str] = set()
    first_of: dict[str, str] = {}
    for batch in batches:
        texts, places = np.unique(batch["label"].astype(str), return_index=True)
        for text, place in zip(texts, places, strict=True):
            label = json.loads(text)
            for one in label if isinstance(label, list) else [label]:
                names.add(name_of(one))
                kind = "a boolean" if isinstance(one, bool) else "text or a whole number"
                first_of.setdefault(kind, f"{name_of(one)!r} at {batch['origin'][place]}")
    if len(first_of) > 1:
        said = " and ".join(f"{kind} ({where})" for kind, where in sorted(first_of.items()))
        raise PlatformError(f"examples.label: labels of two kinds, {said}; write them all in one way")
    if len(names) > MAX_CLASSES:
        raise PlatformError(f"{len(names)} different labels; is examples.label_kind number meant?")
    return in_order(names)


def in_order(names: Iterable[str]) -> list[str]:
    """By their numbers where all are whole numbers, else by the alphabet; the same in every process."""
    there = sorted(names)
    return sorted(there, key=int) if all(WHOLE_NUMBER.fullmatch(name) for name in there) else there
