"""Which paths of a training a sweep may search: those that every trial reads and that leave its figure comparable.

A list of what may be searched, so that a new field of a training is refused until somebody has thought of it.
"""

from __future__ import annotations

from trainshed.spec.sweep.space import Choice, Range
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.train import Training

SEARCHABLE = (
    "task.class_weights",
    "task.mask_probability",
    "task.settings",
    "model",
    "data",
    "lora",
    "freeze",
    "optimizer",
    "schedule",
    "regularization",
    "engine",
    "precision",
    "workers.per_device_batch_size",
    "global_batch_size",
    "seed",
)
"""Each with everything inside of it."""

SAME_WORKERS = "all trials of a sweep get the same workers; of those only workers.per_device_batch_size can be searched"


def path_faults(job: TuneJob, path: str, values: Range) -> list[str]:
    """Why a path cannot be searched in this sweep, in one line; empty where it can, or where it is not there at all."""
    head = path.split(".")[0]
    if head not in Training.model_fields:
        return []  # an unknown path, which says what is near it
    if not any(path == one or path.startswith(f"{one}.") for one in SEARCHABLE):
        if head == "workers":
            return [SAME_WORKERS]
        return [f"all trials of a sweep have the same {path}; a space goes over {', '.join(SEARCHABLE)}"]
    if head == "seed" and job.folds is not None:
        return ["the seed says which samples each fold holds out, and trials would be compared on others; leave it out"]
    if head == "model" and job.train.init_from is not None and not path.endswith("dropout"):
        return [f"train.init_from gives weights of one shape, and {path} may change it; leave one of them out"]
    return _data_faults(job, values) if head == "data" else []


def _data_faults(job: TuneJob, values: Range) -> list[str]:
    if not isinstance(values, Choice):
        return ["data sets are listed: {choice: [run://ONE, run://OTHER]}"]
    if job.folds is not None:
        return ["with folds each trial holds out a part of its own data, so trials over other data do not compare"]
    if job.metric == "train_loss":
        return ["the loss of training is of other samples in each data set; say a metric of held-out data"]
    return []
