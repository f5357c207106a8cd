"""The report of a sweep: pictures, a page that holds them, and the best settings as a job file ready to submit.

sweep.png  report.html  report/{curves,importance,parallel,slices}.png  best.yaml
"""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from trainshed.record.results import Used
from trainshed.record.run import Record
from trainshed.record.trial_facts import TrialResult
from trainshed.runtime.tuning.report.importance import importances
from trainshed.runtime.tuning.report.page import page
from trainshed.runtime.tuning.report.parallel import parallel_coordinates
from trainshed.runtime.tuning.report.pictures import curves, importance_bars, overview, slices
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.train import Training

TITLES = {
    "curves": "Learning curves",
    "importance": "Importance of each setting",
    "parallel": "Settings side by side",
    "slices": "The metric over each setting",
}


def write_report(
    record: Record,
    job: TuneJob,
    trials: Sequence[TrialResult],
    best: TrialResult,
    training: Training,
    *,
    spent: Used,
    limit: str | None,
    refused: str = "",
) -> None:
    """Writes everything. `limit` says which limit of the budget was reached,
    `refused` what was drawn and could not be a trial."""
    found, why_not = importances(job, trials)
    pictures = {
        "curves": curves(job, trials, best),
        "importance": importance_bars(found) if found else None,
        "parallel": parallel_coordinates(job, trials, best),
        "slices": slices(job, trials, best),
    }
    made = {name: content for name, content in pictures.items() if content is not None}
    for name, content in made.items():
        record.storage.write(record.at(f"report/{name}.png"), content)
    record.storage.write(record.at("sweep.png"), overview(record.run_id, job, trials, best))
    record.storage.write(record.at("best.yaml"), best_job(job, training).encode())
    shown = [(TITLES[name], made.get(name), why_not if name == "importance" else "") for name in TITLES]
    html = page(record, job, trials, best, shown, spent=spent, limit=limit, refused=refused)
    record.storage.write(record.at("report.html"), html.encode())


def best_job(job: TuneJob, training: Training) -> str:
    """A train document of the best settings, without what is as it is by default."""
    kept = training.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    kinds = training.model_dump(mode="json", by_alias=True)
    for key, value in kept.items():  # a union is told by its kind, also where that is the default
        if isinstance(value, dict) and isinstance(kinds[key], dict) and "kind" in kinds[key]:
            kept[key] = {"kind": kinds[key]["kind"], **value}
    document = {"kind": "train", "name": f"{job.name[:35].rstrip('-')}-best", **kept}
    head = f"# The best settings of the sweep {job.name}: `platform submit best.yaml`\n"
    return head + yaml.safe_dump(document, sort_keys=False, width=110)
