"""What a training may learn. How each is learnt stands in `runtime/tasks`."""

from __future__ import annotations

from typing import Annotated, Literal, assert_never

from pydantic import Field, JsonValue

from trainshed.spec.part import Part, Positive, like

ClassWeights = Literal["balanced"] | Annotated[tuple[Positive, ...], Field(min_length=1)]
"""A weight for each class in the order of the data's labels, or `balanced`: rare classes weigh more."""


class CausalLm(Part):
    """Predict the next token; loss is the mean cross-entropy in nats per token. With targets only those count."""

    kind: Literal["causal_lm"] = "causal_lm"


class MaskedLm(Part):
    """Predict hidden tokens (arXiv 1810.04805); loss is the mean cross-entropy in nats per hidden token."""

    kind: Literal["masked_lm"] = "masked_lm"
    mask_probability: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    """Of those chosen 80 % become <|mask|>, 10 % another token, 10 % stay."""


class Seq2SeqLm(Part):
    """Produce the target of a text; loss is the mean cross-entropy in nats per target token."""

    kind: Literal["seq2seq_lm"] = "seq2seq_lm"
    generated_samples: Annotated[int, Field(ge=0)] = 256
    """Samples whose target is really generated with the exported model at the end, for the exact match."""


class TextClassification(Part):
    """Label a text."""

    kind: Literal["text_classification"] = "text_classification"
    problem: Literal["single_label", "multi_label", "regression"] = "single_label"
    """Cross-entropy, binary cross-entropy for each label, or squared error."""
    class_weights: ClassWeights | None = None


class ImageClassification(Part):
    """Label an image."""

    kind: Literal["image_classification"] = "image_classification"
    class_weights: ClassWeights | None = None


class LstmClassifier(Part):
    """Label a text with an LSTM: the classic baseline."""

    kind: Literal["lstm_classifier"] = "lstm_classifier"
    class_weights: ClassWeights | None = None


class Custom(Part):
    """A class of your own that follows the protocol in `trainshed.runtime.tasks`."""

    kind: Literal["custom"] = "custom"
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


Task = Annotated[
    CausalLm | MaskedLm | Seq2SeqLm | TextClassification | ImageClassification | LstmClassifier | Custom,
    Field(discriminator="kind"),
]


OF_TOKENS = ("loss", "perplexity", "accuracy")
OF_CLASSES = ("loss", "accuracy", "macro_precision", "macro_recall", "macro_f1", "precision", "recall", "f1", "roc_auc")
OF_LABELS = ("loss", "accuracy", "macro_precision", "macro_recall", "macro_f1", "micro_f1", "roc_auc")
OF_NUMBERS = ("loss", "mse", "pearson", "spearman")


def metrics_of(task: Task) -> tuple[str, ...]:
    """What a training of the task reports at each validation, and its train_loss."""
    match task:
        case CausalLm() | MaskedLm():
            held_out: tuple[str, ...] = OF_TOKENS
        case Seq2SeqLm():
            held_out = (*OF_TOKENS, "sequence_accuracy")
        case TextClassification(problem="multi_label"):
            held_out = OF_LABELS
        case TextClassification(problem="regression"):
            held_out = OF_NUMBERS
        case TextClassification() | ImageClassification() | LstmClassifier():
            held_out = OF_CLASSES
        case Custom():
            held_out = ("loss", *task.metrics)
        case _:
            assert_never(task)
    return (*(f"validation_{name}" for name in held_out), "train_loss")
