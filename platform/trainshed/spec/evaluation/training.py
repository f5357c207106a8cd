"""The training that stands for an evaluation: its parts are planned and checked, and no step of it is taken."""

from __future__ import annotations

from trainshed.spec.evaluation.evaluate import EvaluateJob
from trainshed.spec.training.models import Lstm, Model, Pretrained
from trainshed.spec.training.optimizers import Sgd
from trainshed.spec.training.tasks import ImageClassification, LstmClassifier, Task, TextClassification
from trainshed.spec.training.train import Training


def evaluated_as(job: EvaluateJob, trained: Training, model: str) -> Training:
    """What workers build to evaluate a model: `trained` has made it, `model` is what the job calls it.

    Adapters are merged in an export, and a loss with class weights compares with no other.
    """
    return Training(
        task=_plain(trained.task),
        model=_exported(trained.model, model),
        data=job.data,
        optimizer=Sgd(learning_rate=1.0, momentum=0.0),
        engine=job.engine,
        precision=job.precision,
        workers=job.workers,
        global_batch_size=job.workers.max_count * job.workers.per_device,
        steps=1,
        self_test=False,
        max_failures=job.max_failures,
    )


def _exported(trained: Model, reference: str) -> Model:
    return trained if isinstance(trained, Lstm) else Pretrained(name_or_path=reference)


def _plain(task: Task) -> Task:
    weighted = isinstance(task, TextClassification | ImageClassification | LstmClassifier)
    return task.model_copy(update={"class_weights": None}) if weighted else task
