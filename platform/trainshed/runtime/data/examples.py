"""Samples with a target or a label: tokenised by Ray Data, written apart from one another."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from trainshed.record.data_manifest import SamplesFacts
from trainshed.record.storage import Storage
from trainshed.runtime.data.classes import class_names
from trainshed.runtime.data.columns import by_split, shard_schema
from trainshed.runtime.data.packing import end_mark
from trainshed.runtime.data.spelled import MarkFinder, Tally, TextForm
from trainshed.runtime.data.threads import use_threads
from trainshed.runtime.data.values import name_of
from trainshed.runtime.encoding import TextEncoder
from trainshed.runtime.modalities.image.columns import pixels
from trainshed.runtime.modalities.text.columns import lists, pieces
from trainshed.runtime.shards import ExampleWriter
from trainshed.spec.data.prepare import Examples, PrepareJob
from trainshed.spec.data.sources import image_of


def write(
    samples: ray.data.Dataset,
    form: TextForm | None,
    job: PrepareJob,
    storage: Storage,
    folder: str,
    splits: tuple[str, ...],
) -> SamplesFacts:
    """Writes the samples of every split; what the manifest says of them.

    Raises:
        PlatformError: a label is not of the kind that the job says.
    """
    spec = job.examples
    if spec is None:
        raise ValueError("the job has no examples")
    label_kind = spec.label_kind if spec.label is not None else None
    labels = _label_names(samples) if label_kind in ("class", "multi") else []
    image = image_of(job.source)
    schema = shard_schema(tuple(spec.fields), label_kind, image)
    writers = {split: ExampleWriter(storage, folder, split, schema, len(labels)) for split in splits}
    numbers = {name: number for number, name in enumerate(labels)}
    tally = Tally()
    done = Counter[str]()
    encoded = samples.map_batches(
        _encode,
        fn_kwargs={"encoder": Encode(spec, form, numbers, schema)},
        batch_format="pyarrow",
        batch_size=None,
        zero_copy_batch=True,
    )
    for batch in encoded.iter_batches(batch_format="pyarrow", batch_size=None):
        for split, part in by_split(batch, splits):
            writers[split].add(part.select(schema.names))
        if "spelled" in batch.column_names:
            tally.add(batch.filter(pc.not_equal(batch["spelled"], ""))["spelled"].to_pylist())
        if "done" in batch.column_names:
            done.update(what for one in batch["done"].to_pylist() for what in json.loads(one))
    made: dict[str, object] = {"form": "examples", "max_tokens": spec.max_tokens}
    if spec.target is not None:
        made["max_target_tokens"] = spec.max_target_tokens
    if label_kind is not None:
        made |= {"label_kind": label_kind, "labels": labels}
    if image is not None:
        made |= {"image": {"size": image[0], "channels": image[1]}, "images_changed": dict(sorted(done.items()))}
    made["splits"] = {split: writer.close() for split, writer in writers.items()}
    return tally.said_of(SamplesFacts.model_validate(made))


class Encode:
    """Samples to numbers; travels to the workers of Ray Data."""

    def __init__(self, spec: Examples, form: TextForm | None, numbers: dict[str, int], schema: pa.Schema) -> None:
        self._spec = spec
        self._numbers = numbers
        self._schema = schema
        self._serialized = form.serialized if form is not None else None
        self._threads = form.threads if form is not None else 1
        self._end = end_mark(form.tokenizer) if form is not None else None
        self._finder = form.finder if form is not None else MarkFinder(())

    def tables(self, table: pa.Table) -> Iterator[pa.Table]:
        """The columns of the shards beside `split`, and what was found in texts and done to images."""
        use_threads(self._threads)
        for piece in pieces(table, "text") if "text" in table.column_names else [table]:
            columns = {name: piece[name] for name in ("split", "done") if name in piece.column_names}
            columns |= self._texts(piece) if "text" in piece.column_names else {}
            if "label" in piece.column_names:
                labels = [self._label(json.loads(label)) for label in piece["label"].to_pylist()]
                columns["label"] = pa.array(labels, self._schema.field("label").type)
            if "image" in piece.column_names:
                columns["pixels"] = pixels(piece["image"], self._schema.field("pixels"))
            yield pa.table(columns)

    def _texts(self, piece: pa.Table) -> dict[str, pa.Array]:
        assert self._serialized is not None
        encoder = _opened(self._serialized, self._spec.max_tokens, self._end)
        texts = piece["text"].to_pylist()
        made = {"tokens": lists(encoder.texts(texts))}
        spelled = texts
        if "target" in piece.column_names:
            targets = piece["target"].to_pylist()
            made["target"] = lists(encoder.targets(targets, self._spec.max_target_tokens))
            spelled = [f"{text}\n{target}" for text, target in zip(texts, targets, strict=True)]
        return {**made, "spelled": pa.array([self._finder.in_text(text) for text in spelled], pa.string())}

    def _label(self, label: Any) -> Any:
        match self._spec.label_kind:
            case "class":
                return self._numbers[name_of(label)]
            case "multi":
                has = {self._numbers[name_of(one)] for one in label}
                return [float(number in has) for number in range(len(self._numbers))]
            case "number":
                return float(label)


def _encode(table: pa.Table, encoder: Encode) -> Iterator[pa.Table]:
    return encoder.tables(table)


@lru_cache(maxsize=1)
def _opened(serialized: str, max_tokens: int, end: int | None) -> TextEncoder:
    """Parsed once in each worker process: that takes a second where there are 150,000 tokens."""
    return TextEncoder(serialized, max_tokens=max_tokens, end=end)


def _label_names(samples: ray.data.Dataset) -> list[str]:
    return class_names(samples.select_columns(["label", "origin"]).iter_batches(batch_format="numpy", batch_size=4096))
