"""Models that are not spelled out here: any transformers configuration, and weights that are there already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from trainshed.spec.document.locations import WeightsPlace, is_directory, is_reference
from trainshed.spec.document.part import Count, Part, like
from trainshed.spec.training.models.folder import count_safetensors, looks_like_a_model


class Config(Part):
    """Any architecture of transformers, from scratch, by its own configuration."""

    kind: Literal["config"] = "config"
    model_type: Annotated[str, like(r"^[a-z0-9_-]+$", "say the name transformers gives it, like mistral")]
    """The name transformers gives the architecture: mistral, distilbert, deit, ..."""
    settings: dict[str, JsonValue] = Field(default={})
    """Fields of its configuration class, by their own names; sizes of the data are filled in. For a mixture of experts
    `output_router_logits: true` adds the loss of its routers to what causal_lm trains on; validation leaves it out."""
    num_parameters: Count | None = None
    """Number of weights, for the plan, which cannot count those of an architecture that is not spelled out here."""

    @property
    def context(self) -> None:
        """None: the settings say it, by the name that the architecture has for it."""


class Pretrained(Part):
    """Weights and configuration of an existing model; safetensors only, and none of its code is run."""

    kind: Literal["pretrained"] = "pretrained"
    name_or_path: WeightsPlace
    """An absolute directory or s3:// address that the cluster reads, a name on the Hugging Face hub, or a model of your
    own as a serve job names it: NAME@VERSION, NAME@latest, or run://NAME for the export of a training."""
    revision: str | None = None
    """Commit, tag or branch on the hub."""
    num_parameters: Count | None = None
    """Number of weights, for the plan, where they are not in a directory of this machine; the model's page says it."""

    @property
    def context(self) -> None:
        """None: the model's own configuration says it."""

    @property
    def reference(self) -> str | None:
        """What names one of our own models, where it is one."""
        return self.name_or_path if is_reference(self.name_or_path) else None

    @property
    def folder(self) -> Path | None:
        """The model's directory, where this machine has it: without a model's files it may not be the cluster's."""
        folder = Path(self.name_or_path)
        return folder if is_directory(self.name_or_path) and looks_like_a_model(folder) else None

    def parameters(self) -> int | None:
        """Number of weights of a directory on this machine, or as the job says; None: only the cluster can tell.

        Raises:
            UsageError: the directory is no model's.
        """
        return self.num_parameters if self.folder is None else count_safetensors(self.folder)
