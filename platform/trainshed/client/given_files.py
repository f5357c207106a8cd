"""Folders of existing models and tokenizers on this machine: do they belong together, and to what the job asks?

Reads JSON and the headers of weights, which a stranger may have written; runs none of it. What only the cluster has is
compared there before the first step.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainshed.errors import UsageError
from trainshed.spec.data.formats import CONVERSATIONS
from trainshed.spec.data.prepare import PrepareJob, PretrainedTokenizer
from trainshed.spec.document.walk import nearest
from trainshed.spec.fitting import DataForm
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.models.blocks import apart_fault
from trainshed.spec.training.models.families import why_not
from trainshed.spec.training.models.folder import folder_config, read_json, tensors
from trainshed.spec.training.train import Training

TEMPLATE = "chat_template.jinja"
MAX_TEMPLATE_BYTES = 1_000_000
POSITIONS = ("max_position_embeddings", "n_positions")


def template_in(folder: Path) -> str | None:
    """The chat template beside a tokenizer; None where there is none, or several.

    Raises:
        UsageError: it cannot be read.
    """
    file = folder / TEMPLATE
    if file.is_file() and file.stat().st_size <= MAX_TEMPLATE_BYTES:
        return file.read_text(encoding="utf-8", errors="replace")
    config = folder / "tokenizer_config.json"
    said = read_json(config).get("chat_template") if config.is_file() else None
    return said if isinstance(said, str) else None


def lacks_template(job: PrepareJob, folder: Path) -> bool:
    """Whether a job makes conversations, and the tokenizer in this folder has no template for them."""
    names = ("tokenizer_config.json", "chat_template.json", TEMPLATE)
    there = [folder / name for name in names if (folder / name).is_file()]
    if job.format not in CONVERSATIONS or not there:
        return False
    return not any(file.name == TEMPLATE or read_json(file).get("chat_template") for file in there)


def model_faults(training: Training, form: DataForm, maker: PrepareJob | None) -> Iterator[tuple[str, str]]:
    """What of a folder's model does not go with the training: its positions, its layers, its tokenizer.

    `maker` is the document that makes the data, where it is one of the same submission.

    Raises:
        UsageError: a file of the folder cannot be read.
    """
    model = training.model
    if not isinstance(model, Pretrained) or model.folder is None:
        return
    config = folder_config(model.folder)
    kind = str(config.get("model_type"))
    if config.get("is_decoder") is not True and (why := why_not(training.task.kind, kind)):
        yield "model.name_or_path", why
    yield from _too_long(config, training, form)
    if form.apart and training.task.decodes and (why := apart_fault(kind)):
        yield "model.name_or_path", why
    yield from _no_such_layers(model.folder, training)
    if maker is not None and isinstance(maker.tokenizer, PretrainedTokenizer):
        other = Path(maker.tokenizer.name_or_path)
        if other.is_absolute() and _vocabulary(other) and _vocabulary(model.folder) not in ({}, _vocabulary(other)):
            yield (
                "model.name_or_path",
                f"{model.folder} has another tokenizer than {other}, which makes {training.data}; prepare it with "
                f"`tokenizer: {{kind: pretrained, name_or_path: {model.folder}}}`",
            )


def _too_long(config: dict[str, Any], training: Training, form: DataForm) -> Iterator[tuple[str, str]]:
    longest = next((config[name] for name in POSITIONS if isinstance(config.get(name), int)), None)
    wanted = form.sizes.context + (form.sizes.target if training.task.decodes else 0)
    if longest is not None and wanted > longest:
        yield (
            "model.name_or_path",
            f"the model takes {longest} tokens, samples of {training.data} have up to {wanted}; prepare shorter ones",
        )


def _no_such_layers(folder: Path, training: Training) -> Iterator[tuple[str, str]]:
    """Named layers that get adapters, and are not in the files."""
    if training.lora is None or isinstance(training.lora.target_modules, str):
        return
    parts = {part for name in tensors(folder) for part in name.split(".")}
    for wanted in training.lora.target_modules:
        last = wanted.rpartition(".")[2]
        if last not in parts:
            yield "lora.target_modules", f"no layer of the model is called {last!r}; {nearest(last, sorted(parts))}"


def _vocabulary(folder: Path) -> dict[str, Any]:
    """The tokens of a tokenizer.json with their numbers; empty where there is none, or it has another shape."""
    file = folder / "tokenizer.json"
    try:
        said = read_json(file) if file.is_file() else {}
    except UsageError:
        return {}
    model = said.get("model")
    words = model.get("vocab") if isinstance(model, dict) else None
    added = said.get("added_tokens") or []
    own = dict(words) if isinstance(words, dict) else {"": words}
    marks = {str(one.get("content")): one.get("id") for one in added if isinstance(one, dict)}
    return own | marks if words is not None else {}
