"""The verbs about what was made: models, alias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from trainshed.cli import context
from trainshed.cli.evaluation_page import evaluated_text
from trainshed.cli.show import ago, print_json, print_table, say

if TYPE_CHECKING:
    from trainshed.record.evaluation import Evaluated
    from trainshed.record.registry import ModelVersion


def add_to(app: typer.Typer) -> None:
    """Adds the verbs."""
    app.command()(models)
    app.command()(alias)


def models(as_json: bool = context.JsonOption) -> None:
    """List registered model versions, their aliases, and whether they passed the gates of their evaluations.

    \b
    platform models
    """
    from trainshed.record.evaluations import evaluations_of, newest_of_each
    from trainshed.record.registry import aliases, all_versions

    storage = context.storage()
    versions = all_versions(storage)
    of_each = {name: aliases(storage, name) for name in dict.fromkeys(version.name for version in versions)}
    found = [
        (version, _aliases_of(version, of_each[version.name]), evaluations_of(storage, version)) for version in versions
    ]
    if as_json:
        print_json([_facts(*one) for one in found])
        return
    rows = [
        [
            str(version),
            ", ".join(known) or "-",
            _metric_text(version.facts.metrics),
            evaluated_text(newest_of_each(evaluations)),
            version.facts.run_id,
            version.facts.fingerprint[:16],
            ago(version.facts.created_at),
        ]
        for version, known, evaluations in found
    ]
    columns = ["MODEL", "ALIASES", "METRIC", "EVALUATIONS", "RUN", "FINGERPRINT", "REGISTERED"]
    print_table(columns, rows, empty="no models yet; a train job with `register: NAME` makes one")


def _facts(version: ModelVersion, known: list[str], evaluations: list[Evaluated]) -> dict[str, Any]:
    """A version for programs, its evaluations the newest first."""
    said = [one.model_dump(mode="json") for one in evaluations]
    return {**version.facts.model_dump(), "version": version.version, "aliases": known, "evaluations": said}


def _aliases_of(version: ModelVersion, known: dict[str, int]) -> list[str]:
    return [name for name, number in known.items() if number == version.version]


def _metric_text(metrics: dict[str, float | None]) -> str:
    """The metric that a model was registered on, with its name: not every sweep looks at the validation loss."""
    return ", ".join(f"{name} {'-' if value is None else format(value, '.4f')}" for name, value in metrics.items())


def alias(
    model: str = typer.Argument(..., help="NAME@VERSION.", show_default=False),
    name: str = typer.Argument(..., help="The alias, like production.", show_default=False),
    gate: str | None = typer.Option(None, "--gate", help="The name of an evaluation whose gate it must have passed."),
) -> None:
    """Point an alias at a model version, in one atomic step; one that has failed a gate gets none.

    \b
    platform alias stdlib-gpt@2 production
    platform alias stdlib-gpt@2 production --gate stdlib-eval
    """
    from trainshed.record.evaluations import check_gates
    from trainshed.record.registry import resolve, set_alias

    storage = context.storage()
    chosen = resolve(storage, model)
    check_gates(storage, chosen, gate)
    version = set_alias(storage, str(chosen), name)
    say(f"{version.name}@{name} is {version}")
