"""A cluster profile: one YAML document that says which machines there may be. Closed and typed as job files are.

Knows nothing of a provider's interface; prices are what the file says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from trainshed.errors import Fault, SpecError
from trainshed.spec.devices import GpuType
from trainshed.spec.document.faults import explain, validate
from trainshed.spec.document.part import Count, Name, NonNegative, Part, Positive, like
from trainshed.spec.document.yaml_tree import parse
from trainshed.spec.load import read_text


class NodeType(Part):
    """Machines of one kind."""

    cpus: Count
    memory_gb: Positive
    """Of the machine, in 10^9 bytes."""
    gpus: Annotated[int, Field(ge=0)] = 0
    gpu_type: GpuType | None = None
    """The plan knows its memory."""
    price_per_hour: NonNegative | None = None
    """Of one machine, in the profile's currency."""
    spot: bool = False
    """Whether the provider may take it back at any time."""
    min_nodes: Annotated[int, Field(ge=0)] = 0
    max_nodes: Count = 1

    @model_validator(mode="after")
    def _gpus_have_a_type(self) -> NodeType:
        if self.gpus and self.gpu_type is None:
            raise ValueError(f"gpus: {self.gpus} need a gpu_type, so that the plan knows their memory")
        if self.gpu_type is not None and not self.gpus:
            raise ValueError(f"gpu_type {self.gpu_type} needs gpus above 0, got 0; set gpus: 1, or leave gpu_type out")
        return self

    @model_validator(mode="after")
    def _fewest_under_most(self) -> NodeType:
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"min_nodes {self.min_nodes} is over max_nodes {self.max_nodes}")
        return self


class Profile(Part):
    """The machines of one cluster."""

    kind: Literal["cluster"]
    name: Name
    node_types: Annotated[dict[Name, NodeType], Field(min_length=1)]
    currency: Annotated[str, like(r"^[A-Z]{3}$", "say the three letters of ISO 4217, like USD")] | None = None
    """Three letters (ISO 4217), such as USD."""
    prices_from: Annotated[str, StringConstraints(min_length=1)] | None = None
    """Which list the prices stand in, and of which day; or that they are made up."""

    @model_validator(mode="after")
    def _prices_say_what_they_are(self) -> Profile:
        priced = [name for name, node in self.node_types.items() if node.price_per_hour is not None]
        missing = [key for key in ("currency", "prices_from") if getattr(self, key) is None]
        if priced and missing:
            raise ValueError(f"{missing[0]} is missing; node type {priced[0]} has a price_per_hour")
        return self


def load_profile(file: Path) -> Profile:
    """The profile of a file.

    Raises:
        SpecError: every fault of it, with file, line and key.
    """
    documents = parse(read_text(file), str(file), starts="a cluster profile starts with `kind: cluster`")
    if len(documents) > 1:
        message = "a file holds one cluster profile; put the others into files of their own"
        raise SpecError([Fault(str(file), documents[1].line, "", message)])
    (document,) = documents
    if not isinstance(document.data, dict) or document.data.get("kind") != "cluster":
        message = "this is no cluster profile; one starts with `kind: cluster`"
        raise SpecError([Fault(str(file), document.line_of(("kind",)), "kind", message)])
    try:
        return TypeAdapter(Profile).validate_python(validate(TypeAdapter(Profile), document.data))
    except ValidationError as error:
        raise SpecError(explain(error, document, [Profile])) from None
