"""Does a training fit the data it names, and a task its model? Pure comparison, before anything is started.

Knows what data is made of, from the document that makes it; `record.data_form` says the same of data that is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trainshed.spec.data.prepare import PrepareJob, TrainBpe
from trainshed.spec.data.sources import Builtin, image_of
from trainshed.spec.data.tokenizers import Characters
from trainshed.spec.training.models import Config, DataSizes, Model, Pretrained
from trainshed.spec.training.models.blocks import apart_fault
from trainshed.spec.training.preference import Dpo
from trainshed.spec.training.tasks import BuiltIn, Custom, ImageClassification, LstmClassifier, TextClassification
from trainshed.spec.training.train import Training

DIGITS = 10
MARKS_AND_ONE = ("<|endoftext|>", "<|unknown|>", "any character")
"""What a vocabulary of characters has in any case."""


NO_REFERENCE = (
    "task dpo compares with a reference, and {} has none: put a document `kind: reference` between, and read its run; "
    "or say lora, whose model is its own reference with its adapters off"
)


@dataclass(frozen=True)
class DataForm:
    """What a training must know of its data before it starts; None where it is not known yet."""

    has: tuple[str, ...]
    """What a sample has: text, target, label, image."""
    packed: bool
    """Whether a sample is a block of several documents."""
    sizes: DataSizes
    label_kind: str | None
    special_tokens: tuple[str, ...]
    own_tokenizer: bool
    """Whether the tokenizer was trained on the data; then its special tokens are known."""
    has_reference: bool = False
    """Whether a reference's log-probabilities stand beside the answers of preferences."""
    apart: bool = False
    """Whether the documents of a block are kept out of each other's attention."""


def form_of(job: PrepareJob) -> DataForm:
    """The form of what a prepare job will make."""
    label_kind = job.examples.label_kind if job.examples is not None and job.examples.label is not None else None
    labels: int | None = 0
    if label_kind == "number":
        labels = 1
    elif label_kind is not None:
        labels = DIGITS if isinstance(job.source, Builtin) and job.source.name == "digits" else None
    sizes = DataSizes(
        vocab_size=getattr(job.tokenizer, "vocab_size", None),
        context=job.context,
        labels=labels,
        image=image_of(job.source),
        target=job.target_context,
        least_vocab_size=len(MARKS_AND_ONE) + len(job.special_tokens) if isinstance(job.tokenizer, Characters) else 1,
    )
    own = isinstance(job.tokenizer, TrainBpe | Characters)
    return DataForm(
        tuple(job.read_fields), job.pack is not None, sizes, label_kind, job.special_tokens, own, apart=job.apart
    )


def misfits(training: Training, form: DataForm) -> list[tuple[str, str]]:
    """Every way in which a training does not fit its data: the key that could be changed, and one line."""
    task = training.task
    model = training.model
    if isinstance(task, Custom):
        return []
    found = [*_missing(task, form), *_sizes(task, model, form)]
    if isinstance(task, Dpo) and not found and not form.has_reference and training.lora is None:
        found.append(("data", NO_REFERENCE.format(training.data)))
    if form.apart and isinstance(model, Config) and task.decodes and (why := apart_fault(model.model_type)):
        found.append(("model.model_type", why))
    if task.kind == "masked_lm" and form.own_tokenizer and "mask" not in form.special_tokens:
        found.append(("task", "masked_lm needs a <|mask|> token; add `special_tokens: [mask]` to the data's tokenizer"))
    # A model of our own may have been trained on this data: its files are compared, when both are there.
    if isinstance(model, Pretrained) and model.reference is None and form.own_tokenizer:
        found.append(
            (
                "model",
                "a pretrained model knows only its own tokens, and the data's tokenizer is trained on the data; "
                f"prepare it with `tokenizer: {{kind: pretrained, name_or_path: {model.name_or_path}}}`",
            )
        )
    return found


def reference_misfits(training: Training, form: DataForm) -> list[tuple[str, str]]:
    """The same of what a reference job measures: the data may have no reference yet."""
    if form.has_reference:
        return [("data", f"{training.data} has a reference already; name the prepare run that it was made of")]
    return misfits(training, replace(form, has_reference=True))


def _missing(task: BuiltIn, form: DataForm) -> list[tuple[str, str]]:
    wanted = task.needs
    if "text_pair" in form.has and task.kind != "text_classification":
        return [("task", f"{task.kind} reads no pairs of texts; leave examples.text_pair out, or classify them")]
    if not form.has or any(what in form.has for what in task.takes):  # a format that only the files can tell
        return _apart(task, form)
    missing = [what for what in wanted if what not in form.has]
    if missing or (form.packed and "target" in wanted):
        kind = "packed blocks of tokens" if form.packed else f"examples with {', '.join(form.has)}"
        return [
            (
                "task",
                f"{task.kind} needs samples with {', '.join(wanted)}; the data is {kind}; say it under `examples:`",
            )
        ]
    wants = task.label_kind
    if "label" in wanted and form.label_kind != wants:
        return [
            ("task", f"{task.kind} needs labels of kind {wants}; the data has examples.label_kind {form.label_kind}")
        ]
    if isinstance(task, TextClassification | ImageClassification | LstmClassifier):
        weights = task.class_weights
        labels = form.sizes.labels
        if isinstance(weights, Sequence) and not isinstance(weights, str) and labels and len(weights) != labels:
            return [
                ("task.class_weights", f"{len(weights)} weights for {labels} classes; give one for each, or balanced")
            ]
    return _apart(task, form)


def _apart(task: BuiltIn, form: DataForm) -> list[tuple[str, str]]:
    """Blocks of documents that see nothing of each other are read by decoders alone."""
    if form.apart and not task.decodes:
        return [
            ("task", f"{task.kind} reads no blocks of documents that are kept apart; prepare the data as `examples`")
        ]
    return []


def _sizes(task: BuiltIn, model: Model, form: DataForm) -> list[tuple[str, str]]:
    context = model.context
    longest = form.sizes.context
    key = "pack.block_size" if form.packed else "examples.max_tokens"
    if task.decodes and form.sizes.target:
        longest = longest + form.sizes.target
        key = "examples.max_tokens and max_target_tokens together"
    if context is not None and context < longest:
        return [("model.context", f"{context} is under the data's {key}, {longest}; leave it out, or raise it")]
    if model.kind == "vit" and form.sizes.image is not None and form.sizes.image[0] % model.patch:
        message = f"{model.patch} does not divide the images' {form.sizes.image[0]} pixels on each side"
        return [("model.patch", message)]
    return []
