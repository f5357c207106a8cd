"""What a training may say. `Training` is the part a sweep searches; `TrainJob` is a training with a name.

The global batch is what counts for learning; accumulation is derived from it and the workers, never typed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainshed.spec.devices import DEVICES, Precision
from trainshed.spec.document.locations import InitRef
from trainshed.spec.document.part import Count, Name, Part, Positive, RunRef
from trainshed.spec.training import optimizers, quantization, schedules
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.changes import Change, Stretch, misfit, stretches
from trainshed.spec.training.engines import DeepSpeed, Engine
from trainshed.spec.training.export import Export, registration_misfit
from trainshed.spec.training.grpo import Grpo
from trainshed.spec.training.models import Model, Pretrained, has_mup
from trainshed.spec.training.optimizers import Optimizer
from trainshed.spec.training.registration import RegisterAs, name_of
from trainshed.spec.training.regularization import Regularization
from trainshed.spec.training.saving import Checkpoints, Recovery, Validation
from trainshed.spec.training.schedules import Constant, Schedule
from trainshed.spec.training.tasks import CausalLm, Custom, Preferring, Task, TextClassification
from trainshed.spec.training.trackers import ReportTo
from trainshed.spec.training.workers import Workers


class Training(Part):
    """The settings of a training without its name: what `space` of a sweep and `--set` address by dotted path."""

    task: Task = CausalLm()
    model: Model
    data: RunRef
    """The prepare run whose samples are read."""
    init_from: InitRef | None = None
    """The weights of another training's checkpoint, of any engine and number of workers, with a fresh optimizer; the
    model must be of the same shape."""
    lora: Lora | None = None
    """Adapters are trained instead of the model's own weights, and merged into them at export."""
    freeze: tuple[str, ...] = ()
    """Glob patterns of parameter names, like `transformer.wte.*`; what matches is not trained."""
    optimizer: Optimizer
    schedule: Schedule = Constant()
    regularization: Regularization = Regularization()
    engine: Engine = DeepSpeed()
    precision: Precision = "fp32"
    """bf16 and fp16 keep fp32 masters of the weights; fp16 scales its loss, and needs GPUs."""
    workers: Workers = Workers()
    global_batch_size: Count
    """Samples in one optimizer step over all workers; a multiple of workers.count x per_device_batch_size."""
    steps: Count | None = None
    """Optimizer steps; or say epochs."""
    epochs: Positive | None = None
    """Passes over the training samples, also a part of one; the steps are counted when the data is there."""
    seed: int = 0
    """Of the weights and of the order of samples."""
    validation: Validation = Validation()
    checkpoint: Checkpoints = Checkpoints()
    recovery: Recovery = Recovery()
    export: Export = Export()
    self_test: bool = True
    """Before the first step: do the workers agree, and is a step of all of them the step of one?"""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often in a row, without a new step between, workers are restarted from the last checkpoint."""
    changes: tuple[Change, ...] = ()
    """Settings that change in the middle, as those of a population's best member did: a sweep writes them."""

    @model_validator(mode="after")
    def _batch_divides(self) -> Training:
        given = self.workers.per_device_batch_size
        per_device = 1 if given == "auto" else given
        for count in range(self.workers.min_count, self.workers.max_count + 1):
            if self.global_batch_size % (count * per_device):
                raise ValueError(
                    "global_batch_size must be a multiple of workers.count x workers.per_device_batch_size "
                    f"= {count * per_device} ({count} x {per_device}), got {self.global_batch_size}"
                )
        return self

    @model_validator(mode="after")
    def _has_one_length(self) -> Training:
        if self.steps is None and self.epochs is None:
            raise ValueError("steps: missing; say steps, or epochs")
        if self.steps is not None and self.epochs is not None:
            raise ValueError(f"epochs: steps is given too, {self.steps}; leave one of them out")
        return self

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Training:
        fault = schedules.misfit(self.schedule, self.steps) if self.steps is not None else None
        fault = fault or self.engine.optimizer_misfit(self.optimizer)
        if fault:
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _changes_can_be(self) -> Training:
        if self.steps is None:
            fault = "changes: they are at steps of a known number; say steps" if self.changes else None
        else:
            fault = misfit(self._unchanged, self.changes, self.steps)
        if fault:
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _best_is_kept(self) -> Training:
        if self.exports_best and not self.checkpoint.keep_best:
            raise ValueError(
                "checkpoint.keep_best is 0, but early stopping exports the best weights: keep 1, or say "
                "regularization.early_stopping.restore_best: false"
            )
        return self

    @model_validator(mode="after")
    def _precision_has_its_device(self) -> Training:
        gpu = self.workers.gpu_type
        if self.precision == "fp16" and not self.workers.gpus:
            raise ValueError("precision fp16 needs workers.gpus above 0, got 0; say bf16 on CPUs")
        if self.precision == "bf16" and gpu is not None and not DEVICES[gpu].bf16:
            raise ValueError(f"precision bf16 is not in workers.gpu_type {gpu}; say fp16 or fp32")
        if fault := self.engine.precision_misfit(self.precision):
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _model_fits_task(self) -> Training:
        if isinstance(self.task, Custom):
            return self
        known = self.task.trains
        if self.model.kind not in known:
            raise ValueError(f"model: {self.task.kind} cannot train a {self.model.kind}; it trains {', '.join(known)}")
        if self.lora is not None and self.model.kind == "lstm":
            raise ValueError("lora: it adapts the linear layers of transformers; an lstm has none; leave it out")
        if isinstance(self.task, TextClassification) and self.task.problem == "regression" and self.task.class_weights:
            raise ValueError("task.class_weights: a regression has no classes; leave them out")
        return self

    @model_validator(mode="after")
    def _comparisons_have_no_labels(self) -> Training:
        smoothing = self.regularization.label_smoothing
        if isinstance(self.task, Preferring | Grpo) and smoothing:
            own = "; say task.label_smoothing, the share of pairs that may be the wrong way around" * (
                self.task.kind == "dpo"
            )
            raise ValueError(
                f"regularization.label_smoothing {smoothing} spreads the probability of a label, and {self.task.kind} "
                f"learns from {'rewards' if self.task.kind == 'grpo' else 'comparisons'}{own}; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _divergence_has_its_beginning(self) -> Training:
        if isinstance(self.task, Grpo) and self.task.beta and self.init_from is not None:
            raise ValueError(
                f"task.beta {self.task.beta} holds the model that it began with, and init_from is a checkpoint; "
                "name that training's export as model.name_or_path, or leave beta out"
            )
        return self

    @model_validator(mode="after")
    def _adapters_can_go_out(self) -> Training:
        if not self.export.writes_adapters:
            return self
        said = f"export.adapters: {self.export.adapters} writes adapters"
        if self.lora is None:
            raise ValueError(f"{said}, and without lora there are none; add lora, or leave it out")
        if isinstance(self.task, Custom):
            raise ValueError(f"{said}, and task custom writes its own export; leave it out")
        if not isinstance(self.model, Pretrained):
            raise ValueError(f"{said}, and a fresh model's weights, which they fit, are kept nowhere else; say merged")
        return self

    @model_validator(mode="after")
    def _fewer_bits_can_be(self) -> Training:
        fault = quantization.misfit(
            self.lora,
            self.optimizer,
            model=self.model,
            engine=self.engine,
            export=self.export,
            gpus=self.workers.gpus,
        )
        if fault:
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _checkpoint_gives_all_weights(self) -> Training:
        if self.init_from is None:
            return self
        if isinstance(self.model, Pretrained):
            raise ValueError(
                "init_from: the model is pretrained, and its weights are of one origin; leave init_from out, or name "
                "the other training's export as model.name_or_path"
            )
        if self.lora is not None or self.freeze:
            said = "freeze" if self.freeze else "lora"
            raise ValueError(
                f"init_from: a checkpoint holds what is trained, and with {said} other weights stand still; name the "
                "other training's export as model.name_or_path"
            )
        return self

    @model_validator(mode="after")
    def _existing_model_can_be_changed(self) -> Training:
        model = self.model
        if not isinstance(model, Pretrained):
            return self
        flash = model.attn_implementation == "flash_attention_2"
        if flash and not self.workers.gpus:
            raise ValueError(
                "model.attn_implementation: flash_attention_2 needs workers.gpus above 0, got 0; say sdpa on CPUs"
            )
        if flash and self.precision == "fp32":
            raise ValueError("model.attn_implementation: flash_attention_2 needs precision bf16 or fp16, got fp32")
        if model.added_tokens and self.lora is not None:
            raise ValueError(
                "model.added_tokens: lora freezes the embeddings, and those of new tokens would never be learnt; leave "
                "one of them out"
            )
        return self

    @model_validator(mode="after")
    def _mup_has_its_parts(self) -> Training:
        if not has_mup(self.model):
            return self
        fault = optimizers.mup_misfit(self.optimizer)
        if self.regularization.l1 or self.regularization.l2:
            fault = fault or (
                "regularization.l1 and l2 are penalties in the gradient, whose effect model.mup_base_width cannot keep "
                "from width to width; leave them out, or say optimizer.weight_decay with adamw"
            )
        if self.lora is not None:
            fault = fault or "model.mup_base_width is for fresh weights that are trained, and lora freezes them"
        if isinstance(self.task, Custom):
            fault = fault or "model.mup_base_width: task custom makes its own model; leave it out"
        if fault:
            raise ValueError(fault)
        return self

    @property
    def stretches(self) -> list[Stretch[Training]]:
        """The stretches from change to change, each with the settings of its time and the steps of the whole."""
        return stretches(self._unchanged, self.changes, self.total_steps)

    @property
    def total_steps(self) -> int:
        """Optimizer steps; those of epochs must have been counted.

        Raises:
            ValueError: they have not.
        """
        if self.steps is None:
            raise ValueError("the steps of these epochs have not been counted")
        return self.steps

    @property
    def _unchanged(self) -> Training:
        return self.model_copy(update={"changes": ()})

    @property
    def weights(self) -> str | None:
        """The model of our own that it begins with, as the job names it."""
        return self.model.reference if isinstance(self.model, Pretrained) else None

    @property
    def begins_with(self) -> str | None:
        """What another of our trainings has left, and this one begins with: its model, or a checkpoint."""
        return self.init_from or self.weights

    @property
    def exports_best(self) -> bool:
        """Whether the weights of the lowest validation loss are exported, rather than the last ones."""
        policy = self.regularization.early_stopping
        return policy is not None and policy.restore_best

    @property
    def accumulation(self) -> int:
        """Forward passes per worker in one optimizer step of the most workers; the engine counts those there are."""
        return self.global_batch_size // (self.workers.max_count * self.workers.per_device)


class TrainJob(Training):
    """A training with a name, whose weights may be registered as a model version."""

    kind: Literal["train"]
    name: Name
    register_as: RegisterAs | None = Field(default=None, alias="register")
    """The model name under which the exported weights become the next version; `{name, gate: run://EVALUATION}` where
    an evaluation must let it pass first."""
    report_to: ReportTo = ()
    """Trackers that show the run besides its own record: tensorboard, mlflow, wandb."""

    @model_validator(mode="after")
    def _a_whole_model_is_registered(self) -> TrainJob:
        if fault := registration_misfit(self.export, name_of(self.register_as)):
            raise ValueError(fault)
        return self

    @property
    def training(self) -> Training:
        """The part a sweep could have chosen."""
        fields = set(Training.model_fields)
        return Training.model_validate({k: v for k, v in self.model_dump(by_alias=True).items() if k in fields})
