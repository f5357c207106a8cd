"""Samples with a target or a label: tokenised by Ray Data, written apart from one another."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import ray.data
from tokenizers import Tokenizer

from trainshed.errors import PlatformError
from trainshed.record.storage import Storage
from trainshed.runtime.data.packing import end_mark
from trainshed.runtime.encoding import TextEncoder
from trainshed.runtime.shards import ExampleWriter, schema_of
from trainshed.spec.prepare import Examples, PrepareJob
from trainshed.spec.sources import image_of

SAMPLES_PER_BATCH = 256
MAX_CLASSES = 10_000


def write(
    samples: ray.data.Dataset,
    tokenizer: Tokenizer | None,
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
    encoder = _Encode(spec, tokenizer.to_str() if tokenizer is not None else None, _end(tokenizer), numbers)
    encoded = samples.map_batches(
        _encode, fn_kwargs={"encoder": encoder}, batch_size=SAMPLES_PER_BATCH, batch_format="numpy"
    )
    for row in encoded.iter_rows():
        writers[row["split"]].add(json.loads(row["sample"]) | ({"pixels": row["image"]} if "image" in row else {}))
    made: dict[str, Any] = {"form": "examples", "max_tokens": spec.max_tokens}
    if spec.target is not None:
        made["max_target_tokens"] = spec.max_target_tokens
    if label_kind is not None:
        made |= {"label_kind": label_kind, "labels": labels}
    if image is not None:
        made |= {"image": {"size": image[0], "channels": image[1]}}
    return {**made, "splits": {split: writer.close() for split, writer in writers.items()}}


class _Encode:
    """Batches of samples to numbers; runs in a Ray Data worker. What has a length of its own travels as JSON."""

    def __init__(self, spec: Examples, serialized: str | None, end: int | None, numbers: dict[str, int]) -> None:
        self._spec = spec
        self._serialized, self._end = serialized, end
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
            for row, label, origin in zip(rows, batch["label"], batch["origin"], strict=True):
                row["label"] = self._label(json.loads(str(label)), str(origin))
        made = {"split": batch["split"], "sample": np.array([json.dumps(row) for row in rows], dtype=object)}
        if "image" in batch:
            images = np.empty(count, dtype=object)
            images[:] = [np.frombuffer(bytes(image), dtype=np.uint8) for image in batch["image"]]
            made["image"] = images
        return made

    def _label(self, value: Any, origin: str) -> Any:
        match self._spec.label_kind:
            case "class":
                return self._numbers[str(value)]
            case "multi":
                has = {self._numbers[name] for name in several(value)}
                return [float(number in has) for number in range(len(self._numbers))]
            case "number":
                try:
                    return float(value)
                except (TypeError, ValueError):
                    raise PlatformError(f"{origin}: the label is no number: {value!r}; see label_kind") from None


def _encode(batch: dict[str, Any], encoder: _Encode) -> dict[str, Any]:
    return encoder.batch(batch)


def several(value: Any) -> list[str]:
    """The names in a label of several: a list, or text parted by `|`."""
    if isinstance(value, list):
        return [str(name) for name in value]
    return [name.strip() for name in str(value).split("|") if name.strip()]


def _label_names(samples: ray.data.Dataset, spec: Examples) -> list[str]:
    """Every name there is, in the order of numbers where all are numbers, else of the alphabet."""
    names: set[str] = set()
    for batch in samples.select_columns(["label"]).iter_batches(batch_format="numpy", batch_size=4096):
        for text in np.unique(batch["label"].astype(str)):
            value = json.loads(text)
            names.update(several(value) if spec.label_kind == "multi" else [str(value)])
    if len(names) > MAX_CLASSES:
        raise PlatformError(f"{len(names)} different labels; is examples.label_kind number meant?")
    if all(name.lstrip("-").isdigit() for name in names):
        return sorted(names, key=int)
    return sorted(names)


def _end(tokenizer: Tokenizer | None) -> int | None:
    """The end mark of targets."""
    return end_mark(tokenizer) if tokenizer is not None else None
