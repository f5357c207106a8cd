"""Does an evaluation's model go with its data, and can its gate be judged? Found before anything is handed over.

Knows bound evaluations, and outlines of exports. What documents of the same submission are yet to make is compared
on the cluster, when it is there.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainshed.client.bound import BoundEvaluation, EvaluatedModel, FoundWeights, PlannedData, PreparedData
from trainshed.errors import Fault
from trainshed.record.weights import tokenizer_misfit
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.data.sources import places
from trainshed.spec.evaluation.evaluate import generates, reported_by
from trainshed.spec.evaluation.labels import label_numbers, labels_of
from trainshed.spec.evaluation.training import evaluated_as
from trainshed.spec.fitting import misfits
from trainshed.spec.training.engines import Fsdp
from trainshed.spec.training.models.folder import folder_config
from trainshed.spec.training.tasks import Custom
from trainshed.spec.training.train import Training


def evaluation_faults(one: BoundEvaluation) -> list[Fault]:
    """Every fault that can be known now."""
    found = [*_split_faults(one), *_task_faults(one), *_model_faults(one, one.model)]
    if one.against is not None and not _is_unlike(one):
        found += _model_faults(one, one.against)
    return [one.loaded.fault(key, message) for key, message in found]


def _split_faults(one: BoundEvaluation) -> Iterator[tuple[str, str]]:
    """A split that has no samples."""
    asked = one.job.split
    match one.data:
        case PreparedData(outcome=made):
            splits = made.manifest.splits
            split = asked or ("test" if "test" in splits else "validation")
            if split not in splits or not splits[split].samples:
                there = ", ".join(name for name, found in splits.items() if found.samples)
                yield (
                    "split",
                    f"{one.job.data} has no samples in its {split} split; it has some in {there}: say one of these, or "
                    f"prepare it with `split: {{{split}: 0.1}}`",
                )
        case PlannedData(document=maker) if asked == "test" and isinstance(maker.job, PrepareJob):
            if not maker.job.split.test and "test" not in places(maker.job.source):
                yield (
                    "split",
                    f"{one.job.data} makes no test split; say `split: {{test: 0.1}}` there, or validation here",
                )


def _task_faults(one: BoundEvaluation) -> Iterator[tuple[str, str]]:
    """Metrics that the task never reports; another model that has learnt something else; answers that nobody gives."""
    trained = one.model.trained
    if trained is None or isinstance(trained.task, Custom):
        return
    answers = bool(one.job.answers.max_samples) and generates(
        trained.task, has=one.data.form.has, packed=one.data.form.packed
    )
    reported = reported_by(trained.task, answers=answers)
    missing = None if one.job.require is None else one.job.require.metrics_misfit(reported)
    if missing is not None:
        yield f"require.{missing[0]}", missing[1]
    if answers and isinstance(one.job.engine, Fsdp):
        yield (
            "engine",
            "under fsdp no worker has the whole model, and no answers are generated; say ddp, or answers: "
            "{max_samples: 0}",
        )
    other = None if one.against is None else one.against.trained
    if other is not None and _is_unlike(one):
        message = f"{one.job.model} has learnt {trained.task.kind}, this one {other.task.kind}; compare like with like"
        yield "require.against", message


def _is_unlike(one: BoundEvaluation) -> bool:
    """Whether the other model has learnt something else."""
    kinds = {model.trained.task.kind for model in one.models if model.trained is not None}
    return len(kinds) > 1


def _model_faults(one: BoundEvaluation, model: EvaluatedModel) -> Iterator[tuple[str, str]]:
    """A model that cannot be evaluated on the data."""
    trained = model.trained
    if trained is None:
        return
    if isinstance(trained.task, Custom):
        yield (
            model.key,
            f"{model.reference}: task custom has a meter of its own, whose figures an evaluation cannot resample; they "
            "are in its training's record",
        )
        return
    if not trained.export.writes_model:
        yield (
            model.key,
            f"{model.reference} exports adapters alone; say export.adapters: both, or merged, in its training",
        )
    found = list(_data_faults(one, model, trained))
    yield from (("data", f"{model.reference}: {said}") for said in found)


def _data_faults(one: BoundEvaluation, model: EvaluatedModel, trained: Training) -> Iterator[str]:
    training = evaluated_as(one.job, trained, model.reference)
    yield from (f"{key}: {said}" for key, said in misfits(training, one.data.form))
    if not isinstance(model.found, FoundWeights) or not isinstance(one.data, PreparedData):
        return
    if why := tokenizer_misfit(model.found.run.storage, model.found.origin, one.data.outcome, one.job.data):
        yield why
    labels = one.data.manifest.labels
    if labels:
        try:
            label_numbers(labels, labels_of(folder_config(model.found.outline.folder)))
        except ValueError as error:
            yield str(error)
