"""What may be done to documents before they are tokenised. Each step is a function of a dataset of Arrow tables.

The order of documents never changes, so the same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from typing import Any, assert_never

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from trainshed.spec.data.prepare import Clean, Deduplicate, PrepareStep

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
SAMPLE = ("text", "text_pair", "target", "messages", "preference", "label", "image")
"""What a sample is made of; where it is from is no part of it."""
HELD_OUT_FIRST = ("test", "validation")
"""Whose copy is kept where a sample stands in several files: what is held out is not made smaller."""


def apply(documents: ray.data.Dataset, step: PrepareStep) -> ray.data.Dataset:
    """The documents after one step."""
    match step:
        case Clean(min_characters=minimum):
            return documents.map_batches(
                cleaned, fn_kwargs={"minimum": minimum}, batch_format="pyarrow", batch_size=None, zero_copy_batch=True
            )
        case Deduplicate():
            return _first_of_each(documents)
        case _:
            assert_never(step)


def text_key(text: str) -> bytes:
    """128 bits that stand for a text: equal texts have equal keys."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def sample_key(*parts: str | bytes) -> bytes:
    """128 bits that stand for all that a sample is made of; the length before each part keeps them apart."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.digest()


def clean_text(text: str) -> str:
    """NFC, `\\n` newlines, no control characters but tab and newline, no trailing blanks."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    return TRAILING.sub("", CONTROL.sub("", text)).strip("\n")


def cleaned(table: pa.Table, minimum: int) -> pa.Table:
    """The table with clean texts, targets and messages, without texts that are shorter than `minimum` characters."""
    for name in ("text", "text_pair", "target"):
        if name in table.column_names:
            column = pa.array([clean_text(text) for text in table[name].to_pylist()], pa.string())
            table = table.set_column(table.column_names.index(name), name, column)
    if "text" in table.column_names:
        return table.filter(pc.greater_equal(pc.utf8_length(table["text"]), minimum))
    for name in ("messages", "preference"):
        if name in table.column_names:
            turned = [json.loads(one) for one in table[name].to_pylist()]
            made = [json.dumps(_cleaned(one), ensure_ascii=False, sort_keys=True) for one in turned]
            table = table.set_column(table.column_names.index(name), name, pa.array(made, pa.string()))
    return table


def _cleaned(value: Any) -> Any:
    """Conversations with clean contents; what tools are called, and with what, stays as it is."""
    if isinstance(value, list):
        return [_cleaned(one) for one in value]
    if isinstance(value, dict):
        if "role" in value:
            return {**value, "content": clean_text(str(value.get("content") or ""))}
        return {key: _cleaned(one) for key, one in value.items()}
    return value


def repeats(keys: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Which samples are copies of a better one: positions, ascending.

    `keys` is `(samples, 2)` uint64; of equal ones the lowest rank is kept, and of those the first.
    """
    order = np.lexsort((np.arange(len(keys)), ranks, keys[:, 1], keys[:, 0]))
    ordered = keys[order]
    again = np.zeros(len(keys), dtype=bool)
    again[1:] = (ordered[1:] == ordered[:-1]).all(axis=1)
    return np.sort(order[again])


def _first_of_each(documents: ray.data.Dataset) -> ray.data.Dataset:
    """Two passes over documents that are read once: keys come to the driver, which says by `origin` what goes."""
    documents = documents.materialize()
    keyed = documents.map_batches(_keys, batch_format="pyarrow", batch_size=None, zero_copy_batch=True)
    found = [batch for batch in keyed.iter_batches(batch_format="pyarrow", batch_size=None) if batch.num_rows]
    if not found:
        return documents
    table = pa.concat_tables(found).combine_chunks()
    keys = np.frombuffer(b"".join(table["key"].to_pylist()), dtype=np.uint64).reshape(-1, 2)
    copies = repeats(keys, table["rank"].to_numpy())
    if not len(copies):
        return documents
    dropped = table["origin"].take(pa.array(copies)).combine_chunks()
    return documents.map_batches(_without, fn_kwargs={"dropped": dropped}, batch_format="pyarrow", batch_size=None)


def _keys(table: pa.Table) -> pa.Table:
    parts = [table[name].to_pylist() for name in SAMPLE if name in table.column_names]
    keys = pa.array([sample_key(*one) for one in zip(*parts, strict=True)], pa.binary(16))
    ranks = [HELD_OUT_FIRST.index(one) if one in HELD_OUT_FIRST else 2 for one in table["split"].to_pylist()]
    return pa.table({"key": keys, "rank": pa.array(ranks, pa.int8()), "origin": table["origin"]})


def _without(table: pa.Table, dropped: pa.Array) -> pa.Table:
    return table.filter(pc.invert(pc.is_in(table["origin"], value_set=dropped)))
