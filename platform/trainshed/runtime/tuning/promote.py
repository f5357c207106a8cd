"""The best trial becomes the sweep's model: its checkpoint is exported, with lineage, and registered.

One that was stopped early is trained to its end first, where the job chooses the best among all trials.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from trainshed.errors import PlatformError
from trainshed.record.checkpoints import all_checkpoints
from trainshed.record.facts import CodeFacts, TrialOrigin
from trainshed.record.results import ORIGIN
from trainshed.record.run import Record
from trainshed.record.trial_facts import TrialEnd, TrialState
from trainshed.record.trials import TrialFiles, begun
from trainshed.runtime.report import Reporter
from trainshed.runtime.scratch import scratch
from trainshed.runtime.training.ray_train.fit import Fitted, fit
from trainshed.runtime.training.register import register_model, write_lineage
from trainshed.runtime.training.stopped import Stopped
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.runtime.tuning.data import folders
from trainshed.runtime.tuning.report.trial_results import trial_result
from trainshed.runtime.tuning.scheduling.stoppers import Spent
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.train import Training


def promote(
    job: TuneJob,
    reporter: Reporter,
    plan: WorkerSpec,
    trial: TrialFiles,
    *,
    data: Mapping[str, Record],
    code: CodeFacts,
    spent: Spent,
) -> str:
    """Exports and registers; the version, as `NAME@N`.

    Raises:
        PlatformError: no trial came to its end, and the job does not say that the best of the others is trained on.
        Stopped: it was asked to stop while it trained the trial to its end.
    """
    record = reporter.record
    ended = trial.ended
    is_whole = ended is not None and ended.state == TrialState.ENDED
    if not is_whole and job.best_among == "finished":
        raise PlatformError(
            f"register: no trial came to its end with a figure; the best of the others is {trial.name}. Say "
            "best_among: all to train it to its end first, or train its settings with a document that says from_best"
        )
    training = trial.training
    own = dataclasses.replace(
        plan,
        training=training.model_dump(mode="json"),
        data=folders(data)[training.data],
        folder=trial.folder,
        export=True,
    )
    # One that has ended goes on after its last step: there is only the export to do.
    fitted = fit(own, training, sink=reporter) if is_whole else _trained_on(own, training, trial, reporter, spent)
    for name in sorted(fitted.export):  # the model last: it is what others look for
        with scratch("promote") as copy:
            local = record.storage.download(f"{trial.folder}/{name}", copy)
            record.storage.upload(local, record.at(name))
        record.storage.delete(f"{trial.folder}/{name}")
    began = None if training.begins_with is None else plan.weights[training.begins_with]
    return _registered(job, reporter, trial, fitted, data=data[training.data], weights=began, code=code)


def _registered(
    job: TuneJob,
    reporter: Reporter,
    trial: TrialFiles,
    fitted: Fitted,
    *,
    data: Record,
    weights: dict[str, Any] | None,
    code: CodeFacts,
) -> str:
    record = reporter.record
    best = trial_result(job, trial)
    of_trial = TrialOrigin(run_id=record.run_id, trial=trial.name, settings=best.settings)
    began = None if weights is None else ORIGIN.validate_python(weights)
    folder = f"trials/{trial.name}/"
    lineage = write_lineage(job, record, fitted, data=data, weights=began, code=code, trial=of_trial, folder=folder)
    assert job.register_as is not None
    remark = f": {trial.name} as it stands"
    return register_model(job.register_as, reporter, lineage, {job.metric: best.value}, remark=remark)


def _trained_on(plan: WorkerSpec, training: Training, trial: TrialFiles, reporter: Reporter, spent: Spent) -> Fitted:
    """Trains a trial from its newest checkpoint to its last step; it then counts as ended."""
    storage = trial.storage
    record = reporter.record
    before = trial.ended
    newest = next((one.step for one in all_checkpoints(storage, trial.folder)), 0)
    reporter.log(
        f"{trial.name} was stopped early; it is trained from step {newest} to its end, step {training.total_steps}, "
        "before it is registered"
    )
    spent.begins(trial.number)
    try:
        fitted = fit(plan, training, sink=reporter, stopping=lambda: record.asked_to_stop)
    finally:
        held = spent.ends(trial.number)
        spent.keep()
    if fitted.stopped:
        raise Stopped(sum(one.ended is not None for one in begun(storage, record.at())), None, what="trial")
    held_before = before.device_s if before is not None else None
    trial.end(TrialEnd(state=TrialState.ENDED, device_s=(held_before or 0.0) + held))
    return fitted
