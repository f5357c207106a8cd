"""Tables of samples to tables of numbers; travels to the workers of Ray Data. Knows columns; knows no files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from trainshed.runtime.data.fates import columns_of
from trainshed.runtime.data.spelled import MarkFinder, TextForm
from trainshed.runtime.data.threads import use_threads
from trainshed.runtime.data.tokens import Mask, Tokeniser, Tokens
from trainshed.runtime.modalities.image.columns import pixels
from trainshed.runtime.modalities.text.columns import lists, pieces
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.data.values import name_of

TEXTS = ("text", "messages", "preference")


class Encode:
    """The numbers of samples: token ids, labels, pixels."""

    def __init__(self, job: PrepareJob, form: TextForm | None, numbers: dict[str, int], schema: pa.Schema) -> None:
        self._label_kind = job.examples.label_kind if job.examples is not None else "class"
        self._numbers = numbers
        self._schema = schema
        self._threads = form.threads if form is not None else 1
        self._tokens = Tokeniser(job, form) if form is not None else None
        self._finder = form.finder if form is not None else MarkFinder(())

    def tables(self, table: pa.Table) -> Iterator[pa.Table]:
        """The columns of the shards beside `split` and `origin`, and what was found in texts and done to images."""
        use_threads(self._threads)
        text = next((name for name in TEXTS if name in table.column_names), None)
        for piece in pieces(table, text) if text is not None else [table]:
            columns = {name: piece[name] for name in ("split", "origin", "done") if name in piece.column_names}
            columns |= self._texts(piece, text) if text is not None else {}
            if "label" in piece.column_names:
                labels = [self._label(json.loads(label)) for label in piece["label"].to_pylist()]
                columns["label"] = pa.array(labels, self._schema.field("label").type)
            if "image" in piece.column_names:
                columns["pixels"] = pixels(piece["image"], self._schema.field("pixels"))
            yield pa.table(columns)

    def _texts(self, piece: pa.Table, text: str) -> dict[str, pa.Array]:
        assert self._tokens is not None
        rows = self._tokens.rows(piece)
        made = {"tokens": lists([row.ids for row in rows]), **columns_of(rows)}
        if "type_ids" in self._schema.names:
            made["type_ids"] = lists([_or_none(row.types) for row in rows], np.uint8)
        if "target" in self._schema.names:
            made["target"] = lists([_or_none(row.target) for row in rows])
        if "loss_mask" in self._schema.names:
            made["loss_mask"] = lists([_or_none(row.mask) for row in rows], np.uint8)
        if "rejected" in self._schema.names:
            sides = [row.rejected or Tokens(_NO_IDS, _NO_IDS) for row in rows]
            made["rejected"] = lists([side.ids for side in sides])
            made["rejected_mask"] = lists([_or_none(side.mask) for side in sides], np.uint8)
        said = piece[text].to_pylist()
        for other in ("text_pair", "target"):
            if other in piece.column_names:
                said = [f"{one}\n{more}" for one, more in zip(said, piece[other].to_pylist(), strict=True)]
        return {**made, "spelled": pa.array([self._finder.in_text(one) for one in said], pa.string())}

    def _label(self, label: Any) -> Any:
        match self._label_kind:
            case "class":
                return self._numbers[name_of(label)]
            case "multi":
                has = {self._numbers[name_of(one)] for one in label}
                return [float(number in has) for number in range(len(self._numbers))]
            case "number":
                return float(label)


_NO_IDS = np.zeros(0, dtype=np.int64)


def _or_none(values: Mask | None) -> Mask:
    return _NO_IDS if values is None else values
