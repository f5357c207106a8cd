"""Does a model of our own fit the training that begins with it? And what stands for it in a plan.

Knows bound trainings, the outline of an export, and the files of storage that say which tokenizer made what.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar, assert_never

from trainshed.client.bound import Data, FoundWeights, PlannedModel, PreparedData, Weights
from trainshed.record.weights import has_tokenizer_of
from trainshed.spec.job import WEIGHTS_KEY
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.models import Model, Pretrained
from trainshed.spec.training.models.families import why_not
from trainshed.spec.training.models.folder import folder_config
from trainshed.spec.training.train import Training

AnyTraining = TypeVar("AnyTraining", bound=Training)


def weights_misfits(training: Training, weights: Weights, data: Data) -> Iterator[tuple[str, str]]:
    """What does not fit, as far as it is known before the cluster has it: the key, and one line."""
    assert training.weights is not None
    match weights:
        case FoundWeights():
            kind = str(folder_config(weights.outline.folder).get("model_type"))
            storage = weights.run.storage
            if isinstance(data, PreparedData) and not has_tokenizer_of(storage, weights.origin, data.outcome):
                yield (
                    WEIGHTS_KEY,
                    f"{training.weights} has another tokenizer than the data {training.data}; prepare it with "
                    f"`tokenizer: {{kind: pretrained, name_or_path: {storage.address(weights.origin.model)}}}`",
                )
        case PlannedModel():
            made = _made_by(weights)
            kind = "" if made is None else made.model.kind
        case _:
            assert_never(weights)
    if why := why_not(training.task.kind, kind):
        yield WEIGHTS_KEY, f"{training.weights}: {why}"


def as_planned(training: AnyTraining, weights: Weights | None) -> AnyTraining:
    """The training with what a plan can count in place of the name of a model of ours."""
    match weights:
        case None:
            return training
        case FoundWeights():
            assert isinstance(training.model, Pretrained)
            there: Model = training.model.model_copy(update={"name_or_path": str(weights.outline.folder)})
            return training.model_copy(update={"model": there})
        case PlannedModel():
            made = _made_by(weights)
            return training if made is None else training.model_copy(update={"model": made.model})
        case _:
            assert_never(weights)


def _made_by(weights: PlannedModel) -> Training | None:
    """The training that will make a model; None where a sweep's best trial says it."""
    job = weights.document.job
    if isinstance(job, TuneJob):
        return job.train
    return job if isinstance(job, Training) else None
