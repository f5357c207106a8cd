"""weights.json of a training or a sweep: which export each reference to a model of our own means, from its first step.

The laptop writes what it has found when it submits; the driver adds what documents of the same submission have made.
What goes on begins with the same weights, also where a newer version was registered meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pydantic import TypeAdapter, ValidationError

from trainshed.errors import DamagedFile, UsageError
from trainshed.record.facts import said_of
from trainshed.record.registry import ModelVersion
from trainshed.record.results import PrepareResult, TrainResult, WeightsOrigin
from trainshed.record.run import Record
from trainshed.record.storage import Storage

FILE = "weights.json"
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"

Origins = Mapping[str, WeightsOrigin]
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
    return WeightsOrigin(
        run_id=run.run_id, model=outcome.model, fingerprint=lineage.fingerprint, model_sha256=lineage.model_sha256
    )


def keep(reader: Record, weights: Origins) -> None:
    """Writes down what each reference means."""
    said = {reference: origin.as_json() for reference, origin in weights.items()}
    reader.storage.write_json(reader.at(FILE), said)


def kept(reader: Record) -> dict[str, WeightsOrigin]:
    """What `keep` wrote; empty where the run begins with no model of ours.

    Raises:
        DamagedFile: the file says something else.
    """
    found = reader.storage.read_json(reader.at(FILE)) or {}
    try:
        return TypeAdapter(dict[str, WeightsOrigin]).validate_python(found)
    except ValidationError as error:
        raise DamagedFile(f"{reader.storage.address(reader.at(FILE))}: {said_of(error)}") from None


def weights_of(
    reader: Record, references: Iterable[str], find: Callable[[str], WeightsOrigin]
) -> dict[str, WeightsOrigin]:
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
        return TypeAdapter(dict[str, dict[str, str]]).validate_python(found)["files"]
    except (ValidationError, KeyError):
        raise DamagedFile(f"{storage.address(place)}: names no files; train {origin.run_id} again") from None


def has_tokenizer_of(storage: Storage, origin: WeightsOrigin, made: PrepareResult) -> bool:
    """Whether data was tokenized by the tokenizer that lies beside an export; yes where either has none."""
    ours = exported_files(storage, origin).get(TOKENIZER)
    theirs = made.manifest.tokenizer_files.get(TOKENIZER)
    if ours is None or theirs is None or ours == theirs:
        return True
    # Another file may hold the same tokens: it was saved anew by another version, or with a template.
    vocabularies = [_vocabulary(storage, place) for place in (origin.model, f"{made.data}/tokenizer")]
    return vocabularies[0] == vocabularies[1]


def _vocabulary(storage: Storage, folder: str) -> object:
    """The tokens with their numbers, in the form that the file has them."""
    said = storage.read_json(f"{folder}/{TOKENIZER}") or {}
    added = {one.get("content"): one.get("id") for one in said.get("added_tokens") or ()}
    return (said.get("model") or {}).get("vocab"), added
