"""Samples that stay apart, or share a block without seeing each other: tokenised by Ray Data, written in order."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from trainshed.record.data_manifest import SamplesFacts
from trainshed.record.storage import Storage
from trainshed.runtime.data.classes import class_names
from trainshed.runtime.data.columns import by_split, shard_schema
from trainshed.runtime.data.encode import Encode
from trainshed.runtime.data.fates import Fates
from trainshed.runtime.data.spelled import Tally, TextForm
from trainshed.runtime.data.writers import SampleWriter, writer_of
from trainshed.runtime.modalities.text.columns import MASK
from trainshed.spec.data.prepare import PrepareJob
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
        PlatformError: a label is not of the kind that the job says; a sample is too long, or refused.
    """
    spec = job.examples
    label_kind = spec.label_kind if spec is not None and spec.label is not None else None
    labels = _label_names(samples) if label_kind in ("class", "multi") else []
    image = image_of(job.source)
    schema = shard_schema(tuple(job.read_fields), label_kind, image)
    if job.apart and "target" in job.read_fields:  # prompt and completion are one row of a block
        place = schema.get_field_index("target")
        schema = schema.set(place, pa.field("loss_mask", MASK))
    writers: dict[str, SampleWriter] = {
        split: writer_of(job, storage, folder, split, schema, len(labels)) for split in splits
    }
    numbers = {name: number for number, name in enumerate(labels)}
    tally = Tally()
    done = Counter[str]()
    fates = Fates(job)
    encoded = samples.map_batches(
        _encode,
        fn_kwargs={"encoder": Encode(job, form, numbers, schema)},
        batch_format="pyarrow",
        batch_size=None,
        zero_copy_batch=True,
    )
    for batch in encoded.iter_batches(batch_format="pyarrow", batch_size=None):
        for split, part in by_split(batch, splits):
            whole = fates.kept(split, part) if form is not None else part
            writers[split].add(whole.select(schema.names))
        if "spelled" in batch.column_names:
            tally.add(batch.filter(pc.not_equal(batch["spelled"], ""))["spelled"].to_pylist())
        if "done" in batch.column_names:
            done.update(what for one in batch["done"].to_pylist() for what in json.loads(one))
    made: dict[str, object] = {"form": "examples", "max_tokens": job.context or None, "apart": job.apart}
    if job.target_context:
        made["max_target_tokens"] = job.target_context
    if label_kind is not None:
        made |= {"label_kind": label_kind, "labels": labels}
    if image is not None:
        made |= {"image": {"size": image[0], "channels": image[1]}, "images_changed": dict(sorted(done.items()))}
    closed = {split: writer.close() for split, writer in writers.items()}
    if form is not None:
        closed = {split: fates.said_of(split, facts) for split, facts in closed.items()}
    made["splits"] = closed
    return tally.said_of(SamplesFacts.model_validate(made))


def _encode(table: pa.Table, encoder: Encode) -> Iterator[pa.Table]:
    return encoder.tables(table)


def _label_names(samples: ray.data.Dataset) -> list[str]:
    return class_names(samples.select_columns(["label", "origin"]).iter_batches(batch_format="numpy", batch_size=4096))
