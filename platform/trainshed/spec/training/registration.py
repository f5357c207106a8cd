"""Under which name an export becomes a model version: at once, or when an evaluation has let it pass."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from trainshed.spec.document.part import Name, Part, RunRef


class Registration(Part):
    """A version that is made only where a gate is passed."""

    name: Name
    """The model name."""
    gate: RunRef
    """run://NAME, an evaluate document after this one: it registers the model where that passes."""


def _tag(value: Any) -> str:
    return "behind_a_gate" if isinstance(value, dict | Registration) else "at_once"


RegisterAs = Annotated[
    Annotated[Name, Tag("at_once")] | Annotated[Registration, Tag("behind_a_gate")], Discriminator(_tag)
]
"""A name, or `{name, gate}`."""


def name_of(registered: str | Registration | None) -> str | None:
    """The model name, whenever the version is made; None where none is."""
    return registered.name if isinstance(registered, Registration) else registered
