"""Which samples are learnt from and which are held out, and what of one stands in the other.

A sample that a held-out set has too is a leak: a measurement on it says nothing. Without named files whole texts are
split by a hash of what they say, so equal texts stay on one side.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from trainshed.runtime.data.steps import sample_key, text_key
from trainshed.spec.data.prepare import Split

HELD_OUT = ("validation", "test")


def split_table(table: pa.Table, split: Split, named: Collection[str]) -> pa.Table:
    """The table with the split of every sample: its file's, else by the job's rule; cut in pieces, by position.

    `named` are the splits that files of their own make.
    """
    shares = {name: 0.0 if name in named else getattr(split, name) for name in HELD_OUT}
    if split.by == "position":
        return _cut(table, shares)
    own = table["split"].to_pylist()
    undecided = [place for place, name in enumerate(own) if not name]
    if not undecided:
        return table
    contents = _contents(table.take(undecided))
    for place, content in zip(undecided, contents, strict=True):
        own[place] = _drawn(content, split.seed, shares)
    return table.set_column(table.column_names.index("split"), "split", pa.array(own, pa.string()))


def without_leaks(samples: ray.data.Dataset, split: Split) -> tuple[ray.data.Dataset, dict[str, int]]:
    """The samples without training samples that a held-out set has too, and how many each such set has in training.

    They stay where `split.remove_leaks` is off; they are counted in any case.
    """
    held: dict[str, set[bytes]] = {name: set() for name in HELD_OUT}
    learnt: Counter[bytes] = Counter()
    keyed = samples.map_batches(_keys, batch_format="pyarrow", batch_size=None, zero_copy_batch=True)
    for batch in keyed.iter_batches(batch_format="pyarrow", batch_size=None):
        for key, name in zip(batch["key"].to_pylist(), batch["split"].to_pylist(), strict=True):
            if name in held:
                held[name].add(key)
            else:
                learnt[key] += 1
    leaks = {name: sum(learnt[key] for key in keys) for name, keys in held.items()}
    both = [key for keys in held.values() for key in keys if key in learnt]
    if both and split.remove_leaks:
        leaked = pa.array(both, pa.binary(16))
        samples = samples.map_batches(
            _not_leaked, fn_kwargs={"leaked": leaked}, batch_format="pyarrow", batch_size=None
        )
    return samples, {name: count for name, count in leaks.items() if held[name]}


def words_of(text: str) -> str:
    """What a text says, in composed characters (NFC), whatever its blanks and newlines."""
    composed = text if text.isascii() else unicodedata.normalize("NFC", text)
    return " ".join(composed.split())


def _drawn(content: str | bytes, seed: int, shares: dict[str, float]) -> str:
    text = content if isinstance(content, str) else content.hex()
    drawn = int.from_bytes(text_key(f"{seed}\n{text}")[:8], "big") / 2**64
    if drawn < shares["validation"]:
        return "validation"
    return "test" if drawn < shares["validation"] + shares["test"] else "train"


def _contents(table: pa.Table) -> list[Any]:
    """What tells samples apart: what a text says whatever its blanks and newlines, or an image's pixels."""
    for name in ("text", "messages", "preference"):
        if name in table.column_names:
            return [words_of(text) for text in table[name].to_pylist()]
    pixels: list[Any] = table["image"].to_pylist()
    return pixels


def _cut(table: pa.Table, shares: dict[str, float]) -> pa.Table:
    """Cuts each document: its beginning for training, then validation, then test."""
    made = []
    for row in table.to_pylist():
        if row["split"]:
            made.append(row)
            continue
        text = row["text"]
        held_out = shares["validation"] + shares["test"]
        ends = [round(len(text) * share) for share in (1.0 - held_out, 1.0 - shares["test"], 1.0)]
        for name, start, end in zip(("train", *HELD_OUT), [0, *ends], ends, strict=False):
            if end > start:
                made.append({**row, "text": text[start:end], "split": name})
    return pa.Table.from_pylist(made, schema=table.schema)


def _keys(table: pa.Table) -> pa.Table:
    keys = [sample_key(one) for one in _contents(table)]
    return pa.table({"key": pa.array(keys, pa.binary(16)), "split": table["split"]})


def _not_leaked(table: pa.Table, leaked: pa.Array) -> pa.Table:
    held_out = pc.is_in(table["split"], value_set=pa.array(HELD_OUT))
    return table.filter(pc.or_(held_out, pc.invert(pc.is_in(_keys(table)["key"], value_set=leaked))))
