"""Rows as they will be trained, for a person to look at: a process of its own, which the command starts.

Reads a question as JSON from stdin and writes the answer as JSON to stdout. Needs no Ray: the first rows of a job's
files go through the same readers, templates and tokenizers as all of them will.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from trainshed.errors import PlatformError
from trainshed.record.data_manifest import DataManifest
from trainshed.record.facts import parse_facts
from trainshed.record.storage import Storage
from trainshed.runtime.data import tokenizer
from trainshed.runtime.data.columns import names_of, tables
from trainshed.runtime.data.formats import said_in, with_format
from trainshed.runtime.data.found import Found, find_files
from trainshed.runtime.data.reader import SampleReader, content_of
from trainshed.runtime.data.spelled import TextForm
from trainshed.runtime.data.steps import cleaned
from trainshed.runtime.data.tokens import Tokeniser, Tokens
from trainshed.runtime.encoding import ConversationEncoder, Marks, SpecialIds
from trainshed.runtime.scratch import scratch
from trainshed.runtime.shards import open_split
from trainshed.spec.data.prepare import Clean, PrepareJob
from trainshed.spec.data.rows import BadRow

LOOKED_AT = 1_000
"""Rows that lengths and counts are taken of."""
TEXTS = ("text", "text_pair", "target", "messages", "preference")

Answer = dict[str, Any]


def main() -> None:
    """One question, one answer; an error is one line under `error`."""
    asked = json.load(sys.stdin)
    try:
        if "job" in asked:
            answer = of_job(PrepareJob.model_validate(asked["job"]), asked["rows"])
        else:
            answer = of_data(Storage.open(asked["storage"]), asked["data"], asked["rows"])
    except PlatformError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)


def of_job(job: PrepareJob, shown: int) -> Answer:
    """The first rows of a job's files, as they would be trained.

    Raises:
        PlatformError: files or tokenizer cannot be read, or samples are images.
    """
    if job.tokenizer is None:
        raise PlatformError("the job has no text; images are not shown")
    found = find_files(job.source)
    if job.format == "auto":
        job = with_format(job, found)
    samples, bad = _samples(SampleReader(job, found), found)
    if not samples:
        raise PlatformError(str(bad[0]) if bad else "there is no row to look at")
    table = next(tables(samples, names_of(job.read_fields)))
    for step in job.steps:
        table = cleaned(table, step.min_characters) if isinstance(step, Clean) else table
    with scratch("tokenizer") as folder:
        texts = [one for name in TEXTS if name in job.read_fields for cell in table[name].to_pylist()
                 for one in said_in(name, cell)]  # fmt: skip
        made = tokenizer.make(job, texts, folder)
        form = TextForm(
            made,
            Marks.read(folder),
            job.special_tokens_in_text == "obeyed",
            end=SpecialIds.read(folder).eos,
            conversations=ConversationEncoder.read(folder, obey=job.special_tokens_in_text == "obeyed"),
        )
        rows = Tokeniser(job, form).rows(table)
    origins = table["origin"].to_pylist()
    return {
        "format": job.format,
        "rows": [_shown(made, row, origin) for row, origin in zip(rows[:shown], origins, strict=False)],
        "looked_at": len(rows),
        "lengths": _lengths([len(row.ids) if row.fate == "whole" else row.found or len(row.ids) for row in rows]),
        "fates": dict(Counter(row.fate for row in rows if row.fate != "whole")),
        "not_as_asked": sum(not row.as_asked for row in rows),
        "bad_rows": [str(one) for one in bad[:shown]],
    }


def of_data(storage: Storage, data: str, shown: int) -> Answer:
    """The first training samples of prepared data.

    Raises:
        PlatformError: it is not there, or holds images.
    """
    manifest = parse_facts(storage.read_json(f"{data}/manifest.json"), DataManifest, f"{data}/manifest.json")
    if manifest.vocab_size is None:
        raise PlatformError("the data has no text; images are not shown")
    with scratch("data") as folder:
        local = storage.download(data, folder)
        made = Tokenizer.from_file(str(local / "tokenizer" / "tokenizer.json"))
        samples = open_split(local, manifest, "train")
        looked_at = min(len(samples), LOOKED_AT)
        taken = samples.take(np.arange(looked_at))
    rows = list(_of_columns(taken, looked_at))
    train = manifest.splits["train"]
    counts = {"cut": train.cut, **train.left_out}
    return {
        "format": manifest.format,
        "rows": [_shown(made, row, f"{data}#{number}") for number, row in enumerate(rows[:shown])],
        "looked_at": looked_at,
        "lengths": _lengths([len(row.ids) + len(row.target if row.target is not None else ()) for row in rows]),
        "fates": {fate: count for fate, count in counts.items() if count},
        "not_as_asked": train.not_as_asked,
        "bad_rows": list(manifest.bad_rows.first) if manifest.bad_rows is not None else [],
    }


def _samples(reader: SampleReader, found: Found) -> tuple[list[dict[str, object]], list[BadRow]]:
    samples: list[dict[str, object]] = []
    bad: list[BadRow] = []
    for path in found.files:
        for one in reader.read(content_of(found.fs, path), path):
            (bad if isinstance(one, BadRow) else samples).append(one)  # type: ignore[arg-type]
            if len(samples) >= LOOKED_AT:
                return samples, bad
    return samples, bad


def _of_columns(taken: dict[str, Any], count: int) -> Iterator[Tokens]:
    """The samples of shards, with what is learnt of each."""
    for number in range(count):
        column = {name: values[number] for name, values in taken.items()}
        mask = column["loss_mask"].astype(bool) if "loss_mask" in column else None
        rejected = Tokens(column["rejected"], column["rejected_mask"].astype(bool)) if "rejected" in column else None
        yield Tokens(column["tokens"], mask, target=column.get("target"), rejected=rejected)


def _shown(made: Tokenizer, row: Tokens, origin: str) -> Answer:
    """A row as pieces of text, each with whether it is learnt."""
    mask = np.ones(len(row.ids), dtype=bool) if row.mask is None else row.mask
    if row.target is not None:
        mask = np.zeros(len(row.ids), dtype=bool)
    pieces = [*_pieces(made, row.ids, mask)]
    if row.target is not None:
        pieces += _pieces(made, row.target, np.ones(len(row.target), dtype=bool))
    learnt = int(mask.sum()) + (len(row.target) if row.target is not None else 0)
    said = {"origin": origin, "tokens": len(row.ids), "learnt": learnt, "fate": row.fate, "why": row.why}
    if row.target is not None:
        said["target_tokens"] = len(row.target)
    if row.rejected is not None:
        said["rejected"] = _pieces(made, row.rejected.ids, _of(row.rejected.mask, row.rejected.ids))
    return {**said, "pieces": pieces}


def _of(mask: Any, ids: Sequence[int] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.ones(len(ids), dtype=bool) if mask is None else mask


def _pieces(made: Tokenizer, ids: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> list[list[Any]]:
    edges = [0, *(np.flatnonzero(np.diff(mask.astype(int))) + 1).tolist(), len(ids)] if len(ids) else []
    return [
        [made.decode(ids[first:behind].tolist(), skip_special_tokens=False), bool(mask[first])]
        for first, behind in pairwise(edges)
    ]


def _lengths(sizes: Sequence[int]) -> dict[str, int]:
    if not sizes:
        return {}
    ordered = sorted(sizes)
    return {
        "median": ordered[len(ordered) // 2],
        "p95": ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)],
        "most": ordered[-1],
        "total": sum(ordered),
    }


if __name__ == "__main__":
    main()
