"""What of a training goes out in the end: in which precision, and what of its adapters."""

from __future__ import annotations

from typing import Literal

from trainshed.spec.document.part import Part


class Export(Part):
    """How the trained weights are written."""

    dtype: Literal["as_loaded", "bf16", "fp32"] = "as_loaded"
    """Precision of the written weights, always converted from fp32. as_loaded: what the files of a pretrained model
    have, and fp32 for a fresh one and for adapters by themselves."""
    adapters: Literal["merged", "only", "both"] = "merged"
    """With lora: the whole model with the adapters in its weights, the adapters alone in peft's layout, or both."""

    @property
    def writes_model(self) -> bool:
        """Whether there is a whole model in the end, which others can load and serve."""
        return self.adapters != "only"

    @property
    def writes_adapters(self) -> bool:
        """Whether the adapters are written by themselves."""
        return self.adapters != "merged"


def registration_misfit(export: Export, name: str | None, *, inside: str = "") -> str | None:
    """Why what goes out can be no version of a model, in one line; None where it can, or none is asked for.

    `inside` is where the document has its training, as `train.` in a sweep.
    """
    if name is None or export.writes_model:
        return None
    return f"register: {name} would be adapters alone, and no model; say {inside}export.adapters: both, or merged"
