"""The union of everything a document may be, and what documents say of one another."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, RootModel, Tag

from trainshed.spec.data.prepare import PrepareJob, SharedTokenizer
from trainshed.spec.document.part import Part
from trainshed.spec.evaluation.evaluate import EvaluateJob
from trainshed.spec.serving.serve import ServeJob
from trainshed.spec.sweep.from_best import TrainFromBest
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.reference import ReferenceJob
from trainshed.spec.training.registration import name_of
from trainshed.spec.training.train import Training, TrainJob


def _train_tag(value: Any) -> str:
    from_best = "from_best" in value if isinstance(value, dict) else isinstance(value, TrainFromBest)
    return "train_from_best" if from_best else "train_in_full"


AnyTrainJob = Annotated[
    Annotated[TrainFromBest, Tag("train_from_best")] | Annotated[TrainJob, Tag("train_in_full")],
    Discriminator(_train_tag),
]

Job = PrepareJob | ReferenceJob | TuneJob | TrainJob | TrainFromBest | EvaluateJob | ServeJob
KINDS: dict[str, Any] = {
    "prepare": PrepareJob,
    "reference": ReferenceJob,
    "tune": TuneJob,
    "train": AnyTrainJob,
    "evaluate": EvaluateJob,
    "serve": ServeJob,
}


def _kind_tag(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    if kind == "train":
        return _train_tag(value)
    return kind if isinstance(kind, str) else None


class JobDocument(RootModel[Job]):
    """One YAML document; `root` is the job. Its JSON schema is what `platform schema` prints."""

    root: Annotated[
        Annotated[PrepareJob, Tag("prepare")]
        | Annotated[ReferenceJob, Tag("reference")]
        | Annotated[TuneJob, Tag("tune")]
        | Annotated[TrainJob, Tag("train_in_full")]
        | Annotated[TrainFromBest, Tag("train_from_best")]
        | Annotated[EvaluateJob, Tag("evaluate")]
        | Annotated[ServeJob, Tag("serve")],
        Field(discriminator=Discriminator(_kind_tag)),
    ]


WEIGHTS_KEY = "model.name_or_path"
"""Where a training names the model that it begins with."""


class Reference(Part):
    """A place in one document that names another run or a model version."""

    key: str
    target: str
    """`run://NAME` or `NAME@VERSION`."""
    wants: str
    """The kind of job that must stand there: prepare, for all that makes data; tune, train or evaluate."""
    begins: Literal["model", "checkpoint"] | None = None
    """What of it a training begins with, or an evaluation is of."""

    @property
    def run_name(self) -> str | None:
        """The name or id of the run, without a step; None of a model version."""
        return run_name(self.target)


def references(job: Job) -> list[Reference]:
    """The references that must exist before `job` can start."""
    match job:
        case PrepareJob(tokenizer=SharedTokenizer(data=target)):
            return [Reference(key="tokenizer.data", target=target, wants="prepare")]
        case PrepareJob():
            return []
        case ReferenceJob(data=target):
            weights = filter(None, [job.model.reference])
            made = [Reference(key="data", target=target, wants="prepare")]
            return [*made, *(_to_weights(WEIGHTS_KEY, one, job.training) for one in weights)]
        case TuneJob():
            return [
                Reference(key="train.data", target=job.train.data, wants="prepare"),
                *(Reference(key="space.data", target=target, wants="prepare") for target in job.data_sets[1:]),
                *(_to_weights(_key_of(job, target), target, job.train) for target in job.weights),
                *(Reference(key="search.learn_from", target=target, wants="tune") for target in job.learns_from),
            ]
        case TrainJob():
            begins = () if job.begins_with is None else (job.begins_with,)
            return [
                Reference(key="data", target=job.data, wants="prepare"),
                *(_to_weights(weights_key(job), target, job) for target in begins),
            ]
        case TrainFromBest():
            return [Reference(key="from_best", target=job.from_best, wants="tune")]
        case EvaluateJob():
            compared = () if job.require is None or job.require.against is None else (job.require.against,)
            return [
                Reference(key="data", target=job.data, wants="prepare"),
                Reference(key="model", target=job.model, wants="train", begins="model"),
                *(Reference(key="require.against", target=one, wants="train", begins="model") for one in compared),
            ]
        case ServeJob():
            gates = () if job.gate is None else (job.gate,)
            return [
                Reference(key="model", target=job.model, wants="train"),
                *(Reference(key="gate", target=one, wants="evaluate") for one in gates),
            ]


def training_of(job: Job) -> tuple[Training, str] | None:
    """The training that a job spells out, and what its keys begin with in the document; None where there is none."""
    match job:
        case TuneJob():
            return job.train, "train."
        case TrainJob():
            return job, ""
        case ReferenceJob():
            return job.training, ""
        case _:
            return None


def versions_made(job: Job) -> tuple[str, ...]:
    """What later documents may call the model version that a job makes, or gives an alias: NAME@latest, NAME@ALIAS."""
    registered = name_of(getattr(job, "register_as", None))
    made = () if registered is None else (f"{registered}@latest",)
    if not isinstance(job, EvaluateJob) or job.promote is None:
        return made
    return (*made, f"{registered or job.model.partition('@')[0]}@{job.promote}")


def run_name(target: str) -> str | None:
    """The name or id of the run that a reference means, without a step; None of a model version."""
    return target.removeprefix("run://").partition("@")[0] if target.startswith("run://") else None


def weights_key(training: Training) -> str:
    """Where a training says what it begins with."""
    return WEIGHTS_KEY if training.init_from is None else "init_from"


def _to_weights(key: str, target: str, training: Training) -> Reference:
    begins: Literal["model", "checkpoint"] = "model" if training.init_from is None else "checkpoint"
    return Reference(key=key, target=target, wants="train", begins=begins)


def _key_of(job: TuneJob, begins_with: str) -> str:
    """Where a sweep names what trials begin with: in its training, or in its space."""
    if begins_with == job.train.begins_with:
        return f"train.{weights_key(job.train)}"
    return f"space.{WEIGHTS_KEY}" if WEIGHTS_KEY in job.space else "space.model"
