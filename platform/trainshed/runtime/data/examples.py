"""Samples with a target or a label: tokenised by Ray Data, written apart from one another."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import ray.data

from trainshed.errors import PlatformError
from trainshed.record.storage import Storage
from trainshed.runtime.data.packing import end_mark
from trainshed.runtime.data.spelled import MarkFinder, Tally, TextForm
from trainshed.runtime.data.values import name_of
from trainshed.runtime.encoding import TextEncoder
from trainshed.runtime.shards import ExampleWriter, schema_of
from trainshed.spec.prepare import Examples, PrepareJob
from trainshed.spec.sources import image_of

SAMPLES_PER_BATCH = 256
MAX_CLASSES = 10_000
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


def write(
    samples: ray.data.Dataset,
    form: TextForm | None,
    job: PrepareJob,
    storage: Storage,
    folder: str,
    splits: tuple[str, ...],
) -> dict[str, Any]:
    """Writes the samples of every split; what the manifest says of them.

    Raises:
        PlatformError: a label is not of the kind that the job says.
    """
    spec = job.examples
    if spec is None:
        raise ValueError("the job has no examples")
    label_kind = spec.label_kind if spec.label is not None else None
    labels = _label_names(samples, spec) if label_kind in ("class", "multi") else []
    image = image_of(job.source)
    schema = schema_of(tuple(spec.fields), label_kind, image)
    writers = {split: ExampleWriter(storage, folder, split, schema, len(labels)) for split in splits}
    numbers = {name: number for number, name in enumerate(labels)}
    encoder = _Encode(spec, form, numbers)
    tally, done = Tally(), Counter[str]()
    encoded = samples.map_batches(
        _encode, fn_kwargs={"encoder": encoder}, batch_size=SAMPLES_PER_BATCH, batch_format="numpy"
    )
    for row in encoded.iter_rows():
        writers[row["split"]].add(json.loads(row["sample"]) | ({"pixels": row["image"]} if "image" in row else {}))
        tally.add([row["spelled"]] if "spelled" in row else [])
        done.update(json.loads(row["done"]) if "done" in row else [])
    made: dict[str, Any] = {"form": "examples", "max_tokens": spec.max_tokens, **tally.facts}
    if spec.target is not None:
        made["max_target_tokens"] = spec.max_target_tokens
    if label_kind is not None:
        made |= {"label_kind": label_kind, "labels": labels}
    if image is not None:
        made |= {"image": {"size": image[0], "channels": image[1]}, "images_changed": dict(sorted(done.items()))}
    return {**made, "splits": {split: writer.close() for split, writer in writers.items()}}


class _Encode:
    """Batches of samples to numbers; runs in a Ray Data worker. What has a length of its own travels as JSON."""

    def __init__(self, spec: Examples, form: TextForm | None, numbers: dict[str, int]) -> None:
        self._spec = spec
        self._serialized = form.serialized if form is not None else None
        self._end = end_mark(form.tokenizer) if form is not None else None
        self._finder = form.finder if form is not None else MarkFinder(())
        self._numbers = numbers

    def batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The numbers of a batch of samples."""
        count = len(batch["split"])
        rows: list[dict[str, Any]] = [{} for _ in range(count)]
        if self._serialized is not None:
            encoder = TextEncoder(self._serialized, max_tokens=self._spec.max_tokens, end=self._end)
            for row, ids in zip(rows, encoder.texts(list(map(str, batch["text"]))), strict=True):
                row["tokens"] = ids.tolist()
            if "target" in batch:
                targets = encoder.targets(list(map(str, batch["target"])), self._spec.max_target_tokens)
                for row, ids in zip(rows, targets, strict=True):
                    row["target"] = ids.tolist()
        if "label" in batch:
            for row, label in zip(rows, batch["label"], strict=True):
                row["label"] = self._label(json.loads(str(label)))
        made: dict[str, Any] = {name: batch[name] for name in ("split", "done") if name in batch}
        made["sample"] = np.array([json.dumps(row) for row in rows], dtype=object)
        if "text" in batch:
            made["spelled"] = np.array([self._spelled(batch, row) for row in range(count)], dtype=object)
        if "image" in batch:
            images = np.empty(count, dtype=object)
            images[:] = [np.frombuffer(bytes(image), dtype=np.uint8) for image in batch["image"]]
            made["image"] = images
        return made

    def _spelled(self, batch: dict[str, Any], row: int) -> str:
        return self._finder.in_text("\n".join(str(batch[name][row]) for name in ("text", "target") if name in batch))

    def _label(self, label: Any) -> Any:
        match self._spec.label_kind:
            case "class":
                return self._numbers[name_of(label)]
            case "multi":
                has = {self._numbers[name_of(one)] for one in label}
                return [float(number in has) for number in range(len(self._numbers))]
            case "number":
                return float(label)


def _encode(batch: dict[str, Any], encoder: _Encode) -> dict[str, Any]:
    return encoder.batch(batch)


def _label_names(samples: ray.data.Dataset, spec: Examples) -> list[str]:
    """Every name there is, in the order of numbers where all are numbers, else of the alphabet."""
    names: set[str] = set()
    first_of: dict[str, str] = {}
    for batch in samples.select_columns(["label", "origin"]).iter_batches(batch_format="numpy", batch_size=4096):
        texts, places = np.unique(batch["label"].astype(str), return_index=True)
        for text, place in zip(texts, places, strict=True):
            value = json.loads(text)
            for label in value if spec.label_kind == "multi" else [value]:
                names.add(name_of(label))
                kind = "a boolean" if isinstance(label, bool) else "text or a whole number"
                first_of.setdefault(kind, f"{name_of(label)!r} at {batch['origin'][place]}")
    if len(first_of) > 1:
        said = " and ".join(f"{kind} ({where})" for kind, where in sorted(first_of.items()))
        raise PlatformError(f"examples.label: labels of two kinds, {said}; write them all in one way")
    if len(names) > MAX_CLASSES:
        raise PlatformError(f"{len(names)} different labels; is examples.label_kind number meant?")
    return in_order(names)


def in_order(names: Iterable[str]) -> list[str]:
    """Class names by their numbers where all are whole numbers, else by the alphabet; the same in every process."""
    there = sorted(names)
    return sorted(there, key=int) if all(WHOLE_NUMBER.fullmatch(name) for name in there) else there
