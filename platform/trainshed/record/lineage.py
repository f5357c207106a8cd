"""What made a thing: code, configuration, data, trial, checkpoint. One dictionary, one fingerprint.

The fingerprint travels with every served answer (`system_fingerprint`), so an answer leads back to this file.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any


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
    job: dict[str, Any],
    code: dict[str, Any],
    data: dict[str, Any],
    trial: dict[str, Any] | None,
    checkpoint: dict[str, Any] | None,
    model_sha256: str,
    environment: dict[str, str],
) -> dict[str, Any]:
    """lineage.json of a training: everything that made its weights, and their hash."""
    made_by = {
        "run_id": run_id,
        "code": code,
        "configuration_sha256": fingerprint(job),
        "configuration": job,
        "data": data,
        "trial": trial,
        "checkpoint": checkpoint,
        "environment": environment,
        "model_sha256": model_sha256,
    }
    return {**made_by, "fingerprint": fingerprint(made_by)}
