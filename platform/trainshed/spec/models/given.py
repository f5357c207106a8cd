"""Models that are not spelled out here: any transformers configuration, and weights that are there already."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from trainshed.spec.part import Count, Part, like
from trainshed.spec.places import ModelPlace, is_directory

HEADER_LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000


class Config(Part):
    """Any architecture of transformers, from scratch, by its own configuration."""

    kind: Literal["config"] = "config"
    model_type: Annotated[str, like(r"^[a-z0-9_-]+$", "say the name transformers gives it, like mistral")]
    """The name transformers gives the architecture: mistral, distilbert, deit, ..."""
    settings: dict[str, JsonValue] = Field(default={})
    """Fields of its configuration class, by their own names; sizes of the data are filled in."""
    num_parameters: Count | None = None
    """Number of weights, for the plan, which cannot count those of an architecture that is not spelled out here."""

    @property
    def context(self) -> None:
        """Its settings say it, by whatever name the architecture has for it."""


class Pretrained(Part):
    """Weights and configuration of an existing model; safetensors only, and none of its code is run."""

    kind: Literal["pretrained"] = "pretrained"
    name_or_path: ModelPlace
    """An absolute directory or s3:// address that the cluster reads, or a name on the Hugging Face hub."""
    revision: str | None = None
    """Commit, tag or branch on the hub."""
    num_parameters: Count | None = None
    """Number of weights, for the plan, where they are not in a directory of this machine; the model's page says it."""

    @property
    def context(self) -> None:
        """Its own configuration says it."""

    def parameters(self) -> int | None:
        """Number of weights of a directory on this machine, or as the job says; None: only the cluster can tell."""
        folder = Path(self.name_or_path)
        there = is_directory(self.name_or_path) and folder.is_dir()
        return (count_safetensors(folder) if there else None) or self.num_parameters


def count_safetensors(folder: Path) -> int | None:
    """Weights in a folder's safetensors files, from their headers alone; None where there are none to read.

    The header is 8 bytes of length and then JSON (https://huggingface.co/docs/safetensors).
    """
    total, files = 0, sorted(folder.glob("*.safetensors"))
    for file in files:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(HEADER_LENGTH_BYTES), "little")
            if length > MAX_HEADER_BYTES:
                return None
            try:
                header = json.loads(stream.read(length))
            except ValueError:
                return None
        total += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return total if files else None
