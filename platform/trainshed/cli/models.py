"""The verbs about what was made: models, alias."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from trainshed.cli import context
from trainshed.cli.show import ago, print_json, print_table, say

if TYPE_CHECKING:
    from trainshed.record.registry import ModelVersion


def add_to(app: typer.Typer) -> None:
    """Adds the verbs."""
    app.command()(models)
    app.command()(alias)


def models(as_json: bool = context.JsonOption) -> None:
    """List registered model versions and their aliases.

    \b
    platform models
    """
    from trainshed.record.registry import aliases, all_versions

    storage = context.storage()
    versions = all_versions(storage)
    of_each = {name: aliases(storage, name) for name in dict.fromkeys(version.name for version in versions)}
    found = [(version, _aliases_of(version, of_each[version.name])) for version in versions]
    if as_json:
        print_json(
            [{**version.facts.model_dump(), "version": version.version, "aliases": known} for version, known in found]
        )
        return
    rows = [
        [
            str(version),
            ", ".join(known) or "-",
            _metric_text(version.facts.metrics),
            version.facts.run_id,
            version.facts.fingerprint[:16],
            ago(version.facts.created_at),
        ]
        for version, known in found
    ]
    columns = ["MODEL", "ALIASES", "METRIC", "RUN", "FINGERPRINT", "REGISTERED"]
    print_table(columns, rows, empty="no models yet; a train job with `register: NAME` makes one")


def _aliases_of(version: ModelVersion, known: dict[str, int]) -> list[str]:
    return [name for name, number in known.items() if number == version.version]


def _metric_text(metrics: dict[str, float | None]) -> str:
    """The metric that a model was registered on, with its name: not every sweep looks at the validation loss."""
    return ", ".join(f"{name} {'-' if value is None else format(value, '.4f')}" for name, value in metrics.items())


def alias(
    model: str = typer.Argument(..., help="NAME@VERSION.", show_default=False),
    name: str = typer.Argument(..., help="The alias, like production.", show_default=False),
) -> None:
    """Point an alias at a model version, in one atomic step.

    \b
    platform alias stdlib-gpt@2 production
    """
    from trainshed.record.registry import set_alias

    version = set_alias(context.storage(), model, name)
    say(f"{version.name}@{name} is {version}")
