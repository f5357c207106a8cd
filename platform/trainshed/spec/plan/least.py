"""What is too large whatever is found out later: a plan with the smallest vocabulary and fewest weights there can be.

A vocabulary of characters, or of a tokenizer that this machine does not have, is only known when the data is prepared;
the weights of a configuration that is not spelled out here are counted on the cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from trainshed.errors import PlanError
from trainshed.spec.plan.choose import plan
from trainshed.spec.plan.described import described_layers
from trainshed.spec.plan.refusal import refuse_what_cannot_fit
from trainshed.spec.plan.sweep import plan_sweep
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.models import Config, DataSizes
from trainshed.spec.training.train import Training

AnyTraining = TypeVar("AnyTraining", bound=Training)

SHARED_LAYERS = ("albert",)
"""Families whose layers have the same weights."""


def refuse_what_can_never_fit(
    name: str,
    job: Training | TuneJob,
    sizes: DataSizes,
    *,
    of_each: Mapping[str, DataSizes] | None = None,
    machine_bytes: int | None = None,
) -> None:
    """Refuses what is too large whatever is found out later; does nothing where vocabulary and weights are known.

    `of_each` and `machine_bytes` are as `plan_sweep` has them.

    Raises:
        PlanError: the job, or the largest trial of a sweep, cannot fit with any vocabulary.
    """
    every = {data: _least_sizes(one) for data, one in (of_each or {}).items()}
    smallest = _least_model(job)
    least = _least_sizes(sizes)
    if least == sizes and every == (of_each or {}) and smallest == job:
        return
    try:
        if isinstance(smallest, TuneJob):
            plan_sweep(smallest, least, of_each=every, machine_bytes=machine_bytes)
        else:
            refuse_what_cannot_fit(plan(name, smallest, least, machine_bytes=machine_bytes), smallest)
    except PlanError as error:
        raise PlanError(
            f"{error}; counted with the smallest vocabulary and the fewest weights that there can be"
        ) from None


def _least_sizes(sizes: DataSizes) -> DataSizes:
    """The sizes with the fewest tokens there can be, where their number is not known."""
    if sizes.vocab_size is not None or sizes.image is not None:
        return sizes
    return replace(sizes, vocab_size=sizes.least_vocab_size)


def _least_model(job: Training | TuneJob) -> Training | TuneJob:
    """The model with the fewest weights that a configuration can have."""
    if not isinstance(job, TuneJob):
        return _counted(job)
    if any(path == "model" or path.startswith("model.") for path in job.space):
        return job  # its trials have other sizes
    return job.model_copy(update={"train": _counted(job.train)})


def _counted(training: AnyTraining) -> AnyTraining:
    """One square matrix in each layer: every family has more."""
    model = training.model
    if not isinstance(model, Config) or model.num_parameters is not None:
        return training
    layers = described_layers({"model_type": model.model_type, **model.settings})
    if layers is None:
        return training
    depth = 1 if model.model_type in SHARED_LAYERS else sum(one.count for one in layers)
    counted = model.model_copy(update={"num_parameters": depth * layers[0].width ** 2})
    return training.model_copy(update={"model": counted})
