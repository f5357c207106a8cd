"""What a training may learn. How each is learnt stands in `runtime/tasks`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from trainshed.spec.document.part import Part, Positive, like
from trainshed.spec.training.built_in import DECODER_KINDS, BuiltInTask, LabelKind
from trainshed.spec.training.preference import Dpo, Orpo, RewardModel

ClassWeights = Literal["balanced"] | Annotated[tuple[Positive, ...], Field(min_length=1)]
"""A weight for each class in the order of the data's labels, or `balanced`: rare classes weigh more."""


OF_TOKENS = ("loss", "perplexity", "accuracy")
OF_CLASSES = ("loss", "accuracy", "macro_precision", "macro_recall", "macro_f1", "precision", "recall", "f1", "roc_auc")
OF_LABELS = ("loss", "accuracy", "macro_precision", "macro_recall", "macro_f1", "micro_f1", "roc_auc")
OF_NUMBERS = ("loss", "mse", "pearson", "spearman")


class CausalLm(BuiltInTask):
    """Predict the next token; loss is the mean cross-entropy in nats per token. With targets only those count."""

    kind: Literal["causal_lm"] = "causal_lm"
    trains: ClassVar = DECODER_KINDS
    needs: ClassVar = ("text",)
    takes: ClassVar = ("messages",)
    decodes: ClassVar = True

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of token prediction."""
        return OF_TOKENS


class MaskedLm(BuiltInTask):
    """Predict hidden tokens (arXiv 1810.04805); loss is the mean cross-entropy in nats per hidden token."""

    kind: Literal["masked_lm"] = "masked_lm"
    trains: ClassVar = ("bert", "config", "pretrained")
    needs: ClassVar = ("text",)
    mask_probability: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    """Of those chosen 80 % become <|mask|>, 10 % another token, 10 % stay."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of predicted hidden tokens."""
        return OF_TOKENS


class Seq2SeqLm(BuiltInTask):
    """Produce the target of a text; loss is the mean cross-entropy in nats per target token."""

    kind: Literal["seq2seq_lm"] = "seq2seq_lm"
    trains: ClassVar = ("t5", "bart", "config", "pretrained")
    needs: ClassVar = ("text", "target")
    generated_samples: Annotated[int, Field(ge=0)] = 256
    """Samples whose target is really generated with the exported model at the end, for the exact match."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of tokens, and the share of whole targets that are right."""
        return (*OF_TOKENS, "sequence_accuracy")


class TextClassification(BuiltInTask):
    """Label a text."""

    kind: Literal["text_classification"] = "text_classification"
    trains: ClassVar = ("bert", "config", "pretrained")
    needs: ClassVar = ("text", "label")
    problem: Literal["single_label", "multi_label", "regression"] = "single_label"
    """Cross-entropy, binary cross-entropy for each label, or squared error."""
    class_weights: ClassWeights | None = None

    @property
    def label_kind(self) -> LabelKind:
        """The kind of labels: one class, several labels, or a number."""
        kinds: dict[str, LabelKind] = {"single_label": "class", "multi_label": "multi", "regression": "number"}
        return kinds[self.problem]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of classes, of labels, or of numbers."""
        return {"single_label": OF_CLASSES, "multi_label": OF_LABELS, "regression": OF_NUMBERS}[self.problem]


class ImageClassification(BuiltInTask):
    """Label an image."""

    kind: Literal["image_classification"] = "image_classification"
    trains: ClassVar = ("vit", "config", "pretrained")
    needs: ClassVar = ("image", "label")
    class_weights: ClassWeights | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of classification."""
        return OF_CLASSES


class LstmClassifier(BuiltInTask):
    """Label a text with an LSTM: the classic baseline."""

    kind: Literal["lstm_classifier"] = "lstm_classifier"
    trains: ClassVar = ("lstm",)
    needs: ClassVar = ("text", "label")
    class_weights: ClassWeights | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of classification."""
        return OF_CLASSES


class Custom(Part):
    """A class of your own that follows the protocol in `trainshed.runtime.tasks`."""

    kind: Literal["custom"] = "custom"
    decodes: ClassVar[bool] = False
    """See `BuiltInTask`: nobody knows of it."""
    sequences: ClassVar[int] = 1
    path: Annotated[str, like(r"^[A-Za-z_]\w*:[A-Za-z_]\w*$", "say my_module:MyTask")]
    """`my_module:MyTask`; my_module.py lies beside the job file and is uploaded with it."""
    metrics: tuple[Annotated[str, like(r"^\w+$", "a metric's name is one word, like bleu")], ...] = ()
    """What its meter gives beside `loss`; a sweep may take `validation_<name>` as its metric, and the first validation
    checks that it is there."""
    settings: dict[str, JsonValue] = Field(default={})
    """Handed to the class."""

    @property
    def module(self) -> str:
        """The module's name, a file beside the job file without `.py`."""
        return self.path.partition(":")[0]

    @property
    def class_name(self) -> str:
        """The class in the module."""
        return self.path.partition(":")[2]


Preferring = Dpo | Orpo | RewardModel
"""Tasks that learn from comparisons."""
BuiltIn = CausalLm | MaskedLm | Seq2SeqLm | TextClassification | ImageClassification | LstmClassifier | Preferring
Task = Annotated[BuiltIn | Custom, Field(discriminator="kind")]


def metrics_of(task: Task) -> tuple[str, ...]:
    """What a training of the task reports at each validation, and its train_loss."""
    held_out = ("loss", *task.metrics) if isinstance(task, Custom) else task.metrics
    return (*(f"validation_{name}" for name in held_out), "train_loss")
