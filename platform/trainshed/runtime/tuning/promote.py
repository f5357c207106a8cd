"""The best trial as it stands becomes the sweep's model: its checkpoint is exported, with lineage, and registered."""

from __future__ import annotations

import dataclasses
import json
import platform
from importlib.metadata import version
from typing import Any

from trainshed.errors import PlatformError
from trainshed.record.checkpoints import all_checkpoints
from trainshed.record.lineage import training_lineage
from trainshed.record.registry import register
from trainshed.record.run import Record
from trainshed.record.trials import TrialFiles
from trainshed.runtime.report import Reporter
from trainshed.runtime.scratch import scratch
from trainshed.runtime.training.fit import fit
from trainshed.runtime.training.plan import WorkerPlan
from trainshed.runtime.training.run import LIBRARIES, data_lineage
from trainshed.spec.train import Training
from trainshed.spec.tune import TuneJob


def promote(
    job: TuneJob, reporter: Reporter, plan: WorkerPlan, best: dict[str, Any], *, data: Record, code: dict[str, Any]
) -> str:
    """Exports and registers; the version, as `NAME@N`.

    Raises:
        PlatformError: the best trial ended before its last step, so its weights are not what its settings come to.
    """
    record, number = reporter.record, int(best["trial"].rsplit("-", 1)[-1])
    trial = TrialFiles(record.storage, record.at(), number)
    training = Training.model_validate_json(json.dumps((trial.facts or {})["training"]), strict=True)
    newest = next(iter(all_checkpoints(record.storage, trial.folder)), None)
    if newest is None or newest.step < training.steps:
        raise PlatformError(
            f"register: the best trial, {trial.name}, was {best['state']} at step {newest.step if newest else 0} of "
            f"{training.steps}; train its settings to the end with a train document that says from_best"
        )
    own = dataclasses.replace(plan, training=training.model_dump(mode="json"), folder=trial.folder, export=True)
    fitted = fit(own, training, say=reporter.log)  # it goes on after the last step: there is only the export to do
    with scratch("promote") as copy:
        local = record.storage.download(f"{trial.folder}/model", copy)
        record.storage.upload(local, record.at("model"))
    record.storage.delete(f"{trial.folder}/model")
    lineage = training_lineage(
        run_id=record.run_id,
        job=job.model_dump(mode="json", by_alias=True),
        code=code,
        data=data_lineage(data),
        trial={"run_id": record.run_id, "trial": trial.name, "settings": best["settings"]},
        checkpoint={"folder": f"trials/{trial.name}/{fitted.checkpoint}", "step": training.steps},
        model_sha256=fitted.metrics["model_sha256"],
        environment={"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    )
    record.storage.write_json(record.at("lineage.json"), lineage)
    assert job.register_as is not None
    facts = {
        "run_id": record.run_id,
        "model": record.at("model"),
        "fingerprint": lineage["fingerprint"],
        "model_sha256": lineage["model_sha256"],
        "metrics": {job.metric: best["value"]},
    }
    registered = str(register(record.storage, job.register_as, facts))
    reporter.log(f"registered {registered}: {trial.name} as it stands")
    return registered
