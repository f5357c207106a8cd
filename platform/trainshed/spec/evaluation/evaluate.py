"""What an evaluate job may say: a model, a data set, how its figures are measured, and what they must be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from trainshed.spec.devices import DEVICES, Precision
from trainshed.spec.document.locations import ModelRef
from trainshed.spec.document.part import Count, Name, Part, Ratio, RunRef, like
from trainshed.spec.evaluation.require import Require
from trainshed.spec.training.engines import Ddp, Fsdp
from trainshed.spec.training.tasks import BuiltIn, CausalLm, Custom, MaskedLm, Seq2SeqLm, Task
from trainshed.spec.training.workers import Workers

Split = Literal["validation", "test", "train"]


def _no_latest(name: str) -> str:
    if name == "latest":
        raise ValueError("got 'latest', which is always the newest version; say another alias, like production")
    return name


AliasName = Annotated[
    str,
    like(r"^[a-z][a-z0-9-]{0,63}$", "an alias has lower case letters, digits and hyphens, and starts with a letter"),
    AfterValidator(_no_latest),
]
OF_ANSWERS = ("exact_match", "answer_f1")
OF_TRANSLATIONS = ("bleu", "chrf")
OF_CALIBRATION = ("calibration_error",)


class Answers(Part):
    """What the model generates for held-out prompts, greedily, to compare with the answers of the data."""

    max_samples: Annotated[int, Field(ge=0)] = 256
    """The first so many samples are answered; 0 for none. Only data with targets or conversations has any."""
    max_new_tokens: Count | None = None
    """Tokens of an answer at most; as many as the longest answer of the data has where it is not given."""
    batch_size: Count = 16
    """Prompts that are answered at once."""


class Leakage(Part):
    """How much of the evaluated samples stood in the training set: runs of tokens that are in both."""

    ngram: Annotated[int, Field(ge=2, le=64)] = 13
    """Tokens in a run (arXiv 2005.14165, appendix C, has 13); a shorter sample is one run."""
    max_share: Ratio | None = None
    """The largest share of evaluated samples that may share a run with the training set; over it the model fails."""


class Intervals(Part):
    """Percentile intervals of the bootstrap: samples are drawn with replacement, so many times."""

    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    seed: int = 0


class EvaluateJob(Part):
    """A model version or run on a named data set; with `require`, a gate that it passes or fails."""

    kind: Literal["evaluate"]
    name: Name
    model: ModelRef
    """NAME@VERSION, NAME@ALIAS, or run://NAME."""
    data: RunRef
    """The prepare run whose samples are evaluated; of the model's own tokenizer."""
    split: Split | None = None
    """test where the data has one, else validation."""
    max_samples: Count | None = None
    """The first so many samples; all where it is not given."""
    precision: Precision = "fp32"
    """What the model computes in."""
    engine: Annotated[Ddp | Fsdp, Field(discriminator="kind")] = Ddp()
    """ddp: each worker holds the whole model. fsdp: the workers split it; it then generates no answers."""
    workers: Workers = Workers()
    answers: Answers = Answers()
    intervals: Intervals = Intervals()
    leakage: Leakage = Leakage()
    require: Require | None = None
    """The gate: a model that fails it is not registered and gets no alias, and the run fails."""
    register_as: Name | None = Field(default=None, alias="register")
    """The model name under which a run's export becomes the next version, once it has passed."""
    promote: AliasName | None = None
    """The alias that a version gets once it has passed, like production."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often workers are started again; what is measured by then is kept."""

    @model_validator(mode="after")
    def _workers_are_so_many(self) -> EvaluateJob:
        if self.workers.min_count != self.workers.max_count:
            raise ValueError(
                f"workers.count: an evaluation has a fixed number of workers, got {list(self._range)}; say one number"
            )
        if self.workers.per_device_batch_size == "auto":
            raise ValueError("workers.per_device_batch_size: auto is for trainings; say a number")
        return self

    @model_validator(mode="after")
    def _precision_has_its_device(self) -> EvaluateJob:
        gpu = self.workers.gpu_type
        if self.precision == "fp16" and not self.workers.gpus:
            raise ValueError("precision fp16 needs workers.gpus above 0, got 0; say bf16 on CPUs")
        if self.precision == "bf16" and gpu is not None and not DEVICES[gpu].bf16:
            raise ValueError(f"precision bf16 is not in workers.gpu_type {gpu}; say fp16 or fp32")
        return self

    @model_validator(mode="after")
    def _what_passes_has_a_name(self) -> EvaluateJob:
        of_run = self.model.startswith("run://")
        if self.register_as is not None and not of_run:
            raise ValueError(
                f"register: {self.model} is registered already; leave it out, or name a run with model: run://NAME"
            )
        named = "register" if self.register_as is not None else "promote"
        if (self.register_as or self.promote) and not self.has_gate:
            raise ValueError(f"{named}: nothing decides whether the model has passed; say require, or leave it out")
        if self.promote is not None and of_run and self.register_as is None:
            raise ValueError("promote: an alias is of a version; say register: NAME too, or model: NAME@VERSION")
        return self

    @property
    def has_gate(self) -> bool:
        """Whether a model can fail."""
        return self.require is not None or self.leakage.max_share is not None

    @property
    def _range(self) -> tuple[int, int]:
        return self.workers.min_count, self.workers.max_count


def reported_by(task: Task, *, answers: bool) -> tuple[str, ...]:
    """The metrics that an evaluation of a task reports; `answers`: whether the model generates some."""
    if isinstance(task, Custom):
        return ("loss", *task.metrics)
    return (*_of_meter(task), *_of_class(task), *(_of_answers(task) if answers else ()))


def generates(task: Task, *, has: tuple[str, ...], packed: bool) -> bool:
    """Whether samples of data with these fields have answers that a model of the task can generate.

    `packed`: a sample is a block of several documents, where no prompt ends.
    """
    if packed:
        return False
    if isinstance(task, Seq2SeqLm):
        return True
    return isinstance(task, CausalLm) and ("target" in has or "messages" in has)


def _of_meter(task: BuiltIn) -> tuple[str, ...]:
    return task.metrics


def _of_class(task: BuiltIn) -> tuple[str, ...]:
    """Calibration is of tasks that choose one class."""
    predicts_tokens = isinstance(task, CausalLm | MaskedLm | Seq2SeqLm)
    return () if predicts_tokens or task.label_kind != "class" else OF_CALIBRATION


def _of_answers(task: BuiltIn) -> tuple[str, ...]:
    return (*OF_ANSWERS, *OF_TRANSLATIONS) if isinstance(task, Seq2SeqLm) else OF_ANSWERS
