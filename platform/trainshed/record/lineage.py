"""What made a thing: code, configuration, data, trial, checkpoint. One file, one fingerprint.

The fingerprint travels with every served answer (`system_fingerprint`), so an answer leads back to this file.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import JsonValue

from trainshed.record.facts import CodeFacts, TrialOrigin
from trainshed.record.results import CheckpointOrigin, DataOrigin, Lineage, Origin


def canonical(value: Any) -> bytes:
    """JSON bytes that are equal for equal values: sorted keys, no blanks."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(content: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(content).hexdigest()


def fingerprint(value: Any) -> str:
    """Hex SHA-256 of a JSON value, whatever the order of its keys."""
    return sha256(canonical(value))


def training_lineage(
    *,
    run_id: str,
    job: dict[str, JsonValue],
    code: CodeFacts,
    data: DataOrigin,
    trial: TrialOrigin | None,
    checkpoint: CheckpointOrigin | None,
    model_sha256: str,
    environment: dict[str, str],
    weights: Origin | None = None,
) -> Lineage:
    """The lineage of a training, `job` as JSON; its fingerprint is that of all that it says besides."""
    made_by = Lineage(
        run_id=run_id,
        code=code,
        configuration_sha256=fingerprint(job),
        configuration=job,
        data=data,
        trial=trial,
        checkpoint=checkpoint,
        environment=environment,
        model_sha256=model_sha256,
    )
    if weights is not None:
        made_by = made_by.model_copy(update={"weights": weights})
    return made_by.model_copy(update={"fingerprint": fingerprint(made_by.as_json())})
