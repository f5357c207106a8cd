"""The reference job as the driver sees it: preferences, measured once by a model, become data with two more columns.

The data lies at `data/<key>/` beside that of prepare jobs, named by what made it; trainings read it in the same way.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from trainshed.errors import PlatformError
from trainshed.record.built_on import prepared
from trainshed.record.data_form import form_of_manifest
from trainshed.record.data_manifest import DataManifest, ReferenceFacts, ShardFacts, SplitFacts
from trainshed.record.facts import read_facts
from trainshed.record.lineage import fingerprint
from trainshed.record.results import Origin, PrepareResult
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.weights import Origins
from trainshed.runtime.report import Reporter
from trainshed.runtime.scratch import scratch
from trainshed.runtime.shards import damaged
from trainshed.runtime.shards.files import map_shard, write_shard
from trainshed.runtime.shards.intact import check_files
from trainshed.runtime.training.ray_train.fit import Fitted, fit
from trainshed.runtime.training.ray_train.spares import Spares
from trainshed.runtime.training.run import watch_metrics, workers_in_words
from trainshed.runtime.training.samples import check_beginning
from trainshed.runtime.training.scoring.files import ScoreFiles
from trainshed.runtime.training.stopped import Stopped
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.spec.fitting import reference_misfits
from trainshed.spec.training.reference import ReferenceJob


def reference_job(
    job: ReferenceJob, reporter: Reporter, *, data: Record, weights: Origins, standby: Spares
) -> PrepareResult:
    """Measures the data and returns where the new data lies, as a prepare job does.

    Raises:
        PlatformError: the data has no preferences, or the model does not go with it.
        Stopped: it was asked to end; what is measured by then is kept.
    """
    record = reporter.record
    storage = record.storage
    made = prepared(data)
    for key, message in reference_misfits(job.training, form_of_manifest(made.manifest)):
        raise PlatformError(f"{key}: {message}")
    origin = check_beginning(job.training, weights, made, storage)
    facts = _facts(job, origin, made.manifest)
    key = _key(facts, record.run_id)
    folder = f"data/{key}"
    there = _intact(storage, folder)
    if there is not None:
        reporter.log(f"unchanged: the data is already there, made by {there.made_by}; no work done", reused=True)
        return PrepareResult(data=folder, address=storage.address(folder), reused=True, manifest=there)
    fitted = _measured(job, reporter, made, weights, standby)
    facts = facts.model_copy(update={"shape": fitted.last.values["shape"]})
    measured = ScoreFiles(storage, record.at())
    with scratch("data") as copy, scratch("scores") as scores:
        source = storage.download(made.data, copy)
        check_files(source, made.manifest)
        splits = {
            name: _joined(split, measured.read(name, split.samples, scores), source, storage, folder)
            for name, split in made.manifest.splits.items()
        }
        if (tokenizer := source / "tokenizer").is_dir():
            storage.upload(tokenizer, f"{folder}/tokenizer")
    said = {"splits": splits, "reference": facts, "fingerprint": key, "made_by": record.run_id}
    manifest = made.manifest.model_copy(update=said)
    storage.write_json(f"{folder}/manifest.json", manifest.as_json())
    measured.delete()
    return PrepareResult(data=folder, address=storage.address(folder), reused=False, manifest=manifest)


def _measured(job: ReferenceJob, reporter: Reporter, made: PrepareResult, weights: Origins, standby: Spares) -> Fitted:
    """Has the workers measure every sample of every split."""
    record = reporter.record
    samples = sum(split.samples for split in made.manifest.splits.values())
    training = job.training.model_copy(update={"steps": samples})  # so that a heartbeat's step is a sample
    plan = WorkerSpec(
        training=training.model_dump(mode="json"),
        storage=record.storage.uri,
        data=made.data,
        folder=record.at(),
        export=False,
        work="score",
        weights={reference: origin.as_json() for reference, origin in weights.items()},
    )
    reporter.log(f"reference {job.name}: {workers_in_words(training)}, {training.engine.name}, {samples:,} samples")
    with watch_metrics(reporter, record.at("metrics.jsonl"), samples, stage="reference"):
        fitted = fit(plan, training, sink=reporter, stopping=lambda: record.asked_to_stop, standby=standby)
    if fitted.stopped:
        raise Stopped(fitted.last.step, None, what="sample")
    return fitted


def _facts(job: ReferenceJob, origin: Origin | None, manifest: DataManifest) -> ReferenceFacts:
    made = ReferenceFacts(model=job.model.name_or_path, precision=job.precision, of=manifest.fingerprint)
    return made if origin is None else made.model_copy(update={"weights": origin.as_json()})


def _key(facts: ReferenceFacts, run_id: str) -> str:
    """What names the data: all that it follows from, or the run where a model's bytes are nobody's to vouch for."""
    return fingerprint([facts.as_json(), None if facts.weights.get("model_sha256") else run_id])


def _intact(storage: Storage, folder: str) -> DataManifest | None:
    """The manifest of data that is there with every byte."""
    try:
        manifest = read_facts(storage, f"{folder}/manifest.json", DataManifest)
        return manifest if manifest is not None and not damaged(storage, folder, manifest) else None
    except PlatformError:
        return None


def _joined(split: SplitFacts, figures: pa.Table, source: Path, storage: Storage, folder: str) -> SplitFacts:
    """Writes the shards of a split with the reference's columns beside their own."""
    shards: list[ShardFacts] = []
    start = 0
    for shard in split.shards:
        table = map_shard(source / shard.file)
        for column in figures.column_names:
            values = figures[column].slice(start, table.num_rows).combine_chunks()
            table = table.append_column(pa.field(column, values.type), values)
        start += table.num_rows
        shards.append(write_shard(storage, folder, shard.file, table))
    return split.model_copy(update={"shards": tuple(shards)})
