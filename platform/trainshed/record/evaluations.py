"""Evaluations of model versions: one small file for each, beside the versions that they are of.

models/<name>/evaluations/<N>/<run_id>.json

A version is never changed; what was found out about it later stands here. The newest evaluation of a name counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from trainshed.errors import DamagedFile, PlatformError
from trainshed.record.evaluation import Evaluated, EvaluationResult
from trainshed.record.facts import passed_over, read_facts
from trainshed.record.names import RUN_ID, is_hidden, is_one
from trainshed.record.registry import ModelVersion
from trainshed.record.run import Record
from trainshed.record.storage import Storage


def keep_evaluation(storage: Storage, version: ModelVersion, found: Evaluated) -> None:
    """Writes one down; again, it changes nothing."""
    place = f"{_folder(version)}/{found.run_id}.json"
    storage.write(place, json.dumps(found.as_json(), indent=2).encode())


def evaluations_of(storage: Storage, version: ModelVersion) -> list[Evaluated]:
    """Every evaluation of a version, the newest first; a file that is none is passed over."""
    found = []
    for file in storage.names(_folder(version)):
        run_id = file.removesuffix(".json")
        place = f"{_folder(version)}/{file}"
        if is_hidden(file):
            continue
        try:
            facts = read_facts(storage, place, Evaluated) if is_one(RUN_ID, run_id) else None
        except (DamagedFile, OSError) as error:
            passed_over(error)
            continue
        if facts is not None and facts.run_id == run_id:
            found.append(facts)
        else:
            passed_over(DamagedFile(f"{storage.address(place)}: no evaluation"))
    return sorted(found, key=lambda one: one.created_at, reverse=True)


def newest_of_each(found: list[Evaluated]) -> dict[str, Evaluated]:
    """The newest evaluation of each name, of evaluations the newest first."""
    newest: dict[str, Evaluated] = {}
    for one in found:
        newest.setdefault(one.name, one)
    return newest


def check_gates(storage: Storage, version: ModelVersion, gate: str | None = None) -> None:
    """Whether a version may get an alias: it has failed no gate, and has passed `gate`, where one is named.

    Raises:
        PlatformError: it has not; with the reason.
    """
    newest = newest_of_each(evaluations_of(storage, version))
    for name, one in newest.items():
        if one.verdict is not None and not one.verdict.passed:
            raise PlatformError(
                f"{version} has failed the gate of evaluation {name} ({one.run_id}): {'; '.join(one.verdict.reasons)}"
            )
    if gate is None:
        return
    if gate not in newest:
        known = f"; there are {', '.join(newest)}" if newest else ""
        raise PlatformError(f"{version} has no evaluation {gate}{known}; submit one with model: {version}")
    if newest[gate].verdict is None:
        raise PlatformError(f"{version}: evaluation {gate} ({newest[gate].run_id}) has no gate; give it require")


def passed(runs: Sequence[Record], *, gate: str, model: str, model_run: str) -> Record:
    """The newest evaluation of a model behind a gate, which it has passed.

    Args:
        runs: the evaluate runs of the gate's name, the newest first.
        gate: what the job calls it, as `run://NAME`.
        model: what the job calls the model.
        model_run: the run whose export it is.

    Raises:
        PlatformError: it has not, or there is none; with the reason.
    """
    for run in runs:
        found = run.outcome
        if not isinstance(found, EvaluationResult) or found.model_run != model_run:
            continue
        if found.verdict is None:
            raise PlatformError(f"{gate}: {run.run_id} has no gate; give the evaluation require")
        if not found.verdict.passed:
            raise PlatformError(f"{gate}: {model} has failed it in {run.run_id}: {'; '.join(found.verdict.reasons)}")
        return run
    raise PlatformError(f"{gate}: no evaluation of that name is of {model}; submit one with model: {model}")


def _folder(version: ModelVersion) -> str:
    return f"models/{version.name}/evaluations/{version.version}"
