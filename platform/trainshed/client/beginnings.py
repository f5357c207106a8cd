"""Does what another training leaves fit the one that begins with it? And what stands for it in a plan.

Knows bound trainings, the outline of an export, and the files of storage that say which tokenizer made what.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar, assert_never

from pydantic import ValidationError

from trainshed.client.bound import Beginning, Data, FoundCheckpoint, FoundWeights, PlannedModel, PreparedData
from trainshed.errors import SpecError
from trainshed.record.run import Record
from trainshed.record.weights import tokenizer_misfit
from trainshed.spec.job import weights_key
from trainshed.spec.load import job_from_data
from trainshed.spec.training.models import Model, Pretrained
from trainshed.spec.training.models.families import why_not
from trainshed.spec.training.models.folder import folder_config
from trainshed.spec.training.models.sameness import shape_misfit
from trainshed.spec.training.train import Training

AnyTraining = TypeVar("AnyTraining", bound=Training)


def beginning_misfits(training: Training, began: Beginning, data: Data) -> Iterator[tuple[str, str]]:
    """What does not fit, as far as it is known before the cluster has it: the key, and one line."""
    reference = training.begins_with
    assert reference is not None
    match began:
        case FoundWeights():
            why = why_not(training.task.kind, str(folder_config(began.outline.folder).get("model_type")))
            why = why or _tokens_misfit(training, began, data)
        case FoundCheckpoint():
            trained = _trained_by(began.run)
            why = None if trained is None else shape_misfit(training.model, trained.model)
            why = why or _tokens_misfit(training, began, data)
        case PlannedModel():
            why = _misfit_with_document(training, began)
        case _:
            assert_never(began)
    if why:
        yield weights_key(training), f"{reference}: {why}"


def _tokens_misfit(training: Training, began: FoundWeights | FoundCheckpoint, data: Data) -> str | None:
    """Whether data that is there has other tokens; what is yet to be made, or has more, is compared on the cluster."""
    grows = isinstance(training.model, Pretrained) and training.model.added_tokens
    if grows or not isinstance(data, PreparedData):
        return None
    return tokenizer_misfit(began.run.storage, began.origin, data.outcome, training.data)


def _misfit_with_document(training: Training, began: PlannedModel) -> str | None:
    made = began.training
    if made is None:
        return None
    if training.init_from is not None:
        return shape_misfit(training.model, made.model)
    return why_not(training.task.kind, made.model.kind)


def _trained_by(run: Record) -> Training | None:
    """The training of a run; None where its job is not what this version reads."""
    try:
        job = job_from_data(run.job["job"])
    except (ValidationError, SpecError):
        return None
    return job if isinstance(job, Training) else None


def as_planned(training: AnyTraining, began: Beginning | None) -> AnyTraining:
    """The training with what a plan can count in place of the name of a model of ours."""
    match began:
        case None | FoundCheckpoint():
            return training
        case FoundWeights():
            assert isinstance(training.model, Pretrained)
            there: Model = training.model.model_copy(update={"name_or_path": str(began.outline.folder)})
            return training.model_copy(update={"model": there})
        case PlannedModel():
            made = began.training if training.init_from is None else None
            return training if made is None else training.model_copy(update={"model": made.model})
        case _:
            assert_never(began)
