"""What every built-in task says of itself: the models it trains, the data it needs, the metrics it gives."""

from __future__ import annotations

from typing import ClassVar, Literal

from trainshed.spec.document.part import Part

DECODER_KINDS = ("gpt2", "llama", "qwen2", "qwen3", "config", "pretrained")
LabelKind = Literal["class", "multi", "number"]


class BuiltInTask(Part):
    """The base of built-in tasks: their models and data needs; `metrics` are what the task's meter gives."""

    trains: ClassVar[tuple[str, ...]]
    """The kinds of model that it can train."""
    needs: ClassVar[tuple[str, ...]]
    """What a sample of its data must have."""
    takes: ClassVar[tuple[str, ...]] = ()
    """What it reads instead of that."""
    decodes: ClassVar[bool] = False
    """Whether its model answers with a token after each token: a text and its target are one sequence, and the logits
    of a large vocabulary are made in chunks."""
    sequences: ClassVar[int] = 1
    """Sequences of one sample that a pass is over."""

    @property
    def label_kind(self) -> LabelKind:
        """The kind of its labels, where its samples have some."""
        return "class"
