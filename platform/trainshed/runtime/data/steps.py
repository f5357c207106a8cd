"""What may be done to documents before they are tokenised. Each step is a function of a dataset.

The order of documents never changes, so the same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Any, assert_never

import numpy as np
import pyarrow as pa
import ray
import ray.data

from trainshed.spec.prepare import Clean, Deduplicate, Step

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)


def apply(documents: ray.data.Dataset, step: Step) -> ray.data.Dataset:
    """The documents after one step."""
    match step:
        case Clean(min_characters=minimum):
            return documents.map(_clean).filter(_is_long, fn_kwargs={"minimum": minimum})
        case Deduplicate():
            return _first_of_each(documents)
        case _:
            assert_never(step)


def text_key(text: str) -> bytes:
    """128 bits that stand for a text: equal texts have equal keys."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def clean_text(text: str) -> str:
    """NFC, `\\n` newlines, no control characters but tab and newline, no trailing blanks."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    return TRAILING.sub("", CONTROL.sub("", text)).strip("\n")


def _clean(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "text": clean_text(row["text"])}


def _is_long(row: dict[str, Any], minimum: int) -> bool:
    return len(row["text"]) >= minimum


def _first_of_each(documents: ray.data.Dataset) -> ray.data.Dataset:
    """Two passes: 16 bytes a document come to the driver, which says by `origin` which ones are repeats."""
    seen: set[bytes] = set()
    repeats: set[str] = set()
    for batch in documents.map(_key).iter_batches(batch_format="numpy", batch_size=4096):
        for key, origin in zip(batch["key"], batch["origin"], strict=True):
            if bytes(key) in seen:
                repeats.add(str(origin))
            seen.add(bytes(key))
    return documents.map_batches(_without, fn_kwargs={"repeats": ray.put(repeats)}, batch_format="pyarrow")


def _key(row: dict[str, Any]) -> dict[str, Any]:
    return {"key": text_key(row["text"]), "origin": row["origin"]}


def _without(batch: pa.Table, repeats: Any) -> pa.Table:
    dropped = ray.get(repeats) if isinstance(repeats, ray.ObjectRef) else repeats
    return batch.filter(np.array([origin.as_py() not in dropped for origin in batch["origin"]], dtype=bool))
