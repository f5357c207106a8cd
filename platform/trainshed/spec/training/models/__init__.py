"""Model shapes a training may ask for, and their parameter counts by pure arithmetic.

The counts are exact for what transformers builds from the same fields (a test compares them); the plan stands on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeGuard, assert_never

from pydantic import Field

from trainshed.spec.training.models.decoders import Gpt2, Llama, Qwen2, Qwen3
from trainshed.spec.training.models.encoders import Bert, Lstm, Vit
from trainshed.spec.training.models.folder import count_safetensors
from trainshed.spec.training.models.given import Config, Pretrained
from trainshed.spec.training.models.seq2seq import T5, Bart

__all__ = [
    "T5",
    "Bart",
    "Bert",
    "Config",
    "DataSizes",
    "Gpt2",
    "Llama",
    "Lstm",
    "Model",
    "Pretrained",
    "Qwen2",
    "Qwen3",
    "Vit",
    "count_parameters",
    "count_safetensors",
    "growth",
    "has_mup",
    "heads_misfit",
    "sequence_length",
]

Model = Annotated[
    Gpt2 | Llama | Qwen2 | Qwen3 | Bert | T5 | Bart | Vit | Lstm | Config | Pretrained, Field(discriminator="kind")
]


@dataclass(frozen=True)
class DataSizes:
    """What a count of weights takes from the data; None or 0 where it is not known before the data is there."""

    vocab_size: int | None
    context: int
    """Tokens in the longest sample."""
    labels: int | None = 0
    """Classes; 0 for a language model."""
    image: tuple[int, int] | None = None
    """Pixels on each side, channels."""
    target: int = 0
    """Tokens in the longest target; a decoder reads it after the text."""
    least_vocab_size: int = 1
    """Where `vocab_size` is not known yet: the fewest tokens that there will be."""


def count_parameters(model: Model, data: DataSizes) -> int | None:
    """Number of weights a training makes; None where only the cluster can count them."""
    context = model.context or data.context
    match model:
        case Pretrained():
            return model.parameters()
        case Config():
            return model.num_parameters
        case Vit():
            return None if data.image is None or not data.labels else model.parameters(*data.image, labels=data.labels)
        case _ if data.vocab_size is None or data.labels is None:
            return None
        case Lstm():
            return model.parameters(data.vocab_size, labels=data.labels)
        case Bert():
            return model.parameters(data.vocab_size, context, labels=data.labels)
        case Gpt2() | Llama() | Qwen2() | Qwen3() | T5() | Bart():
            return model.parameters(data.vocab_size, context)
        case _:
            assert_never(model)


def growth(model: Model) -> float:
    """How many times wider a model is than the one that its muP starts from; 1.0 where it has no muP."""
    if not has_mup(model):
        return 1.0
    assert model.mup_base_width is not None
    return model.width / model.mup_base_width


def has_mup(model: Model) -> TypeGuard[Gpt2 | Llama | Qwen2 | Qwen3]:
    """Whether its initial weights and learning rates are those of muP."""
    return isinstance(model, Gpt2 | Llama | Qwen2 | Qwen3) and model.mup_base_width is not None


def heads_misfit(searched: Model, grown: Model) -> str | None:
    """Why rates that were searched on one model do not suit one that has grown from it by muP, in one line, or None.

    The scale of attention's scores is that of the head size; muP as it is here keeps both.
    """
    if not has_mup(grown) or not isinstance(searched, Gpt2 | Llama | Qwen2 | Qwen3):
        return None
    size = grown.head_size
    was = searched.head_size
    if size == was:
        return None
    return (
        f"width / heads is {size} here and {was} in the sweep, and with mup_base_width heads keep their size; "
        f"say model.heads: {grown.width // was}"
    )


def sequence_length(model: Model, data: DataSizes) -> int:
    """Tokens in the longest sample as the model sees it: an image is its patches and one token for the class."""
    if isinstance(model, Vit) and data.image is not None:
        return 1 + (data.image[0] // model.patch) ** 2
    return data.context
