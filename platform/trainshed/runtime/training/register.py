"""What a training leaves to others: the lineage of its model, and a version in the registry."""

from __future__ import annotations

import platform
from importlib.metadata import version as version_of

from trainshed.record.built_on import prepared
from trainshed.record.events import Registered
from trainshed.record.facts import CodeFacts, Number, TrialOrigin, VersionFacts
from trainshed.record.lineage import training_lineage
from trainshed.record.registry import register
from trainshed.record.results import CheckpointOrigin, DataOrigin, Lineage, Origin
from trainshed.record.run import Record, now
from trainshed.runtime.report import Reporter
from trainshed.runtime.training.ray_train.fit import Fitted
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.train import TrainJob

LIBRARIES = ("ray", "torch", "deepspeed", "transformers", "tokenizers", "numpy", "pyarrow")


def write_lineage(
    job: TrainJob | TuneJob,
    record: Record,
    fitted: Fitted,
    *,
    data: Record,
    weights: Origin | None,
    code: CodeFacts,
    trial: TrialOrigin | None,
    folder: str = "",
) -> Lineage:
    """Writes lineage.json of the run's model; `folder` is where the training's own files lie in the run."""
    checkpoint = None
    if fitted.checkpoint:
        checkpoint = CheckpointOrigin(folder=f"{folder}{fitted.checkpoint}", step=fitted.last.step)
    lineage = training_lineage(
        run_id=record.run_id,
        job=job.model_dump(mode="json", by_alias=True),
        code=code,
        data=_data_lineage(data),
        weights=weights,
        trial=trial,
        checkpoint=checkpoint,
        model_sha256=str(fitted.last.values["model_sha256"]),
        environment={"python": platform.python_version(), **{name: version_of(name) for name in LIBRARIES}},
    )
    record.storage.write_json(record.at("lineage.json"), lineage.as_json())
    return lineage


def register_model(
    name: str, reporter: Reporter, lineage: Lineage, metrics: dict[str, Number | None], *, remark: str = ""
) -> str:
    """The run's model as a new version of `name`; the version, as `NAME@N`."""
    record = reporter.record
    assert lineage.fingerprint is not None
    version = VersionFacts(
        name=name,
        created_at=now(),
        run_id=record.run_id,
        model=record.at("model"),
        fingerprint=lineage.fingerprint,
        model_sha256=lineage.model_sha256,
        metrics=metrics,
    )
    registered = str(register(record.storage, version))
    reporter(Registered(version=registered, remark=remark))
    return registered


def _data_lineage(data: Record) -> DataOrigin:
    """What is said of prepared data in the lineage of what is learnt from it."""
    manifest = prepared(data).manifest
    return DataOrigin(
        run_id=data.run_id,
        fingerprint=manifest.fingerprint,
        made_by=manifest.made_by,
        tokenizer_sha256=manifest.tokenizer_sha256,
        files=manifest.files,
    )
