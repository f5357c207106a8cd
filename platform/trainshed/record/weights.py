"""weights.json of a training or a sweep: what its references to models and checkpoints of our own mean, first to last.

The laptop writes what it has found when it submits; the driver adds what documents of the same submission have made.
What goes on begins with the same weights, also where a newer version was registered meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import assert_never

from pydantic import TypeAdapter, ValidationError

from trainshed.errors import DamagedFile, UsageError
from trainshed.record.bound import bound_runs
from trainshed.record.checkpoints import all_checkpoints, path_of
from trainshed.record.facts import said_of
from trainshed.record.registry import ModelVersion
from trainshed.record.results import InitOrigin, Origin, PrepareResult, TrainResult, WeightsOrigin
from trainshed.record.run import Record
from trainshed.record.storage import Storage

FILE = "weights.json"
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"

Origins = Mapping[str, Origin]
"""By reference."""


def of_version(version: ModelVersion) -> WeightsOrigin:
    """The weights of a registered version."""
    facts = version.facts
    return WeightsOrigin(
        version=str(version),
        run_id=facts.run_id,
        model=facts.model,
        fingerprint=facts.fingerprint,
        model_sha256=facts.model_sha256,
    )


def of_run(run: Record) -> WeightsOrigin:
    """The weights that a training has exported.

    Raises:
        UsageError: it has exported none, or its result is gone.
    """
    outcome = run.outcome
    lineage = run.lineage
    if not isinstance(outcome, TrainResult) or lineage is None:
        raise UsageError(f"run://{run.run_id}: its model is not there any more; train it again")
    if outcome.model is None:
        raise UsageError(f"run://{run.run_id}: it has exported adapters alone; say export.adapters: merged, or both")
    return WeightsOrigin(
        run_id=run.run_id, model=outcome.model, fingerprint=lineage.fingerprint, model_sha256=lineage.model_sha256
    )


def of_checkpoint(runs: Sequence[Record], step: int | None, reference: str) -> InitOrigin:
    """The checkpoint of this step, of the first of these runs that has it; else what was exported, or the newest.

    Raises:
        UsageError: there is none.
    """
    known: list[int] = []
    for run in runs:
        steps = [one.step for one in all_checkpoints(run.storage, run.at()) if one.step]
        known += [] if known else steps
        if step is None and steps:
            return InitOrigin(run_id=run.run_id, init_step=_exported_step(run, steps))
        if step in steps:
            return InitOrigin(run_id=run.run_id, init_step=step)
    kept_steps = f"; there are those of steps {', '.join(map(str, sorted(known)))}" if known else ""
    raise UsageError(f"{reference}: no such checkpoint is kept{kept_steps}")


def _exported_step(run: Record, steps: Sequence[int]) -> int:
    """The step of the weights that a training has exported, or the newest that is kept."""
    outcome = run.outcome
    exported = outcome.checkpoint if isinstance(outcome, TrainResult) else None
    return next((step for step in steps if exported == path_of("", step).removeprefix("/")), max(steps))


def keep(reader: Record, weights: Origins) -> None:
    """Writes down what each reference means."""
    said = {reference: origin.as_json() for reference, origin in weights.items()}
    reader.storage.write_json(reader.at(FILE), said)


def kept(reader: Record) -> dict[str, Origin]:
    """What `keep` wrote; empty where the run begins with no model of ours.

    Raises:
        DamagedFile: the file says something else.
    """
    found = reader.storage.read_json(reader.at(FILE)) or {}
    try:
        return TypeAdapter(dict[str, Origin]).validate_python(found)
    except ValidationError as error:
        raise DamagedFile(f"{reader.storage.address(reader.at(FILE))}: {said_of(error)}") from None


def weights_of(reader: Record, references: Iterable[str], find: Callable[[str], Origin]) -> dict[str, Origin]:
    """What each reference means to the reader; `find` answers one for the first time, and that is written down."""
    known = kept(reader)
    weights = {reference: known.get(reference) or find(reference) for reference in references}
    if weights and weights != known:
        keep(reader, weights)
    return weights


def exported_files(storage: Storage, origin: WeightsOrigin) -> dict[str, str]:
    """The SHA-256 of each file of an export, as its manifest says.

    Raises:
        UsageError: the export is not there.
        DamagedFile: it has no manifest of files.
    """
    place = f"{origin.model}/{MANIFEST}"
    found = storage.read_json(place)
    if found is None:
        raise UsageError(f"{storage.address(place)} is not there; train {origin.run_id} again")
    try:
        return TypeAdapter(dict[str, str]).validate_python(found["files"])
    except (ValidationError, LookupError, TypeError):
        raise DamagedFile(f"{storage.address(place)}: names no files; train {origin.run_id} again") from None


def tokenizer_misfit(storage: Storage, origin: Origin, made: PrepareResult, data: str) -> str | None:
    """Why data does not fit the tokens that a training's beginning knows, in one line; `data` is what jobs call it."""
    match origin:
        case WeightsOrigin():
            ours = exported_files(storage, origin).get(TOKENIZER)
            folder = origin.model
            place = storage.address(folder)
        case InitOrigin():
            read = next(iter(bound_runs(Record(storage, origin.run_id)).values()), None)
            outcome = None if read is None else read.outcome
            if not isinstance(outcome, PrepareResult):
                return None
            ours = outcome.manifest.tokenizer_files.get(TOKENIZER)
            folder = f"{outcome.data}/tokenizer"
            place = storage.address(folder)
        case _:
            assert_never(origin)
    theirs = made.manifest.tokenizer_files.get(TOKENIZER)
    if ours is None or theirs is None or ours == theirs:
        return None
    # Another file may hold the same tokens: it was saved anew by another version, or with a template.
    if _vocabulary(storage, folder) == _vocabulary(storage, f"{made.data}/tokenizer"):
        return None
    return (
        f"it has another tokenizer than the data {data}; prepare it with "
        f"`tokenizer: {{kind: pretrained, name_or_path: {place}}}`"
    )


def _vocabulary(storage: Storage, folder: str) -> object:
    """The tokens with their numbers, in the form that the file has them."""
    said = storage.read_json(f"{folder}/{TOKENIZER}") or {}
    added = {one.get("content"): one.get("id") for one in said.get("added_tokens") or ()}
    return (said.get("model") or {}).get("vocab"), added
