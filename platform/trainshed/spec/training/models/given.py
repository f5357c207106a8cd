"""Models that are not spelled out here: any transformers configuration, and weights that are there already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from trainshed.spec.document.locations import WeightsPlace, is_directory, is_reference
from trainshed.spec.document.part import Count, Part, Positive, Ratio, like
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


DROPOUTS = ("dropout", "dropout_prob", "dropout_rate", "pdrop")
"""How the names of dropout fields end, in every family's config.json."""


class RopeScaling(Part):
    """Rotary positions stretched over a longer context, in the words of config.json."""

    rope_type: Literal["linear", "yarn", "llama3"]
    factor: Annotated[float, Field(gt=1.0)]
    """How many times longer the context becomes."""
    original_max_position_embeddings: Count | None = None
    """The context before it; the model's own, where it is not given."""
    low_freq_factor: Positive = 1.0
    """Of llama3."""
    high_freq_factor: Positive = 4.0
    """Of llama3."""
    beta_fast: Positive = 32.0
    """Of yarn."""
    beta_slow: Positive = 1.0
    """Of yarn."""


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
    dropout: Ratio | Annotated[dict[str, Ratio], Field(min_length=1)] | None = None
    """Of all the dropout fields that its configuration has, or of some by their own names, like `{attn_pdrop: 0.1}`."""
    rope_scaling: RopeScaling | None = None
    attn_implementation: Literal["eager", "sdpa", "flash_attention_2"] | None = None
    """How attention is computed while it trains; transformers' own choice where it is not given."""
    added_tokens: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(max_length=10_000)] = ()
    """Tokens that the data's tokenizer has beside the model's own: the embeddings grow by them. Add them to the
    tokenizer with transformers (add_tokens, save_pretrained), and prepare the data with the folder it is saved to."""

    @property
    def context(self) -> None:
        """None: the model's own configuration says it."""

    def with_dropout(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What a config.json says, with the dropout of the job in its fields."""
        if isinstance(self.dropout, Mapping):
            said = dict(self.dropout)
        else:
            said = {} if self.dropout is None else dict.fromkeys(dropout_fields(config), self.dropout)
        return {**config, **said}

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


def dropout_fields(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a configuration's dropout fields."""
    return tuple(name for name in config if name.endswith(DROPOUTS))
