"""The serve job as the driver sees it: from a model version to an endpoint that has answered."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainshed.errors import PlatformError
from trainshed.record.endpoints import drop_endpoint, put_endpoint
from trainshed.record.lineage import sha256
from trainshed.record.registry import resolve
from trainshed.record.run import Record, find_finished
from trainshed.record.secrets import need_secret
from trainshed.record.storage import Storage
from trainshed.runtime.report import Reporter
from trainshed.runtime.serving.endpoint import delete_application, probe, run_application
from trainshed.runtime.serving.settings import AppSettings
from trainshed.spec.serve import ServeJob

DEFAULT_PORT = 8000
FINGERPRINT_CHARACTERS = 16


def deploy(job: ServeJob, reporter: Reporter, *, trained: Mapping[str, Record]) -> dict[str, Any]:
    """Serves the model and returns the result: URL, model, fingerprint, what it said when it was first asked.

    Raises:
        PlatformError: the model's files are not those that were exported, a secret is missing, or no answer came.
    """
    storage = reporter.record.storage
    model, run = _find_model(job.model, storage, trained)
    reporter.progress("serve", 0, 3, what=f"check {model}")
    folder = _checked_copy(storage, run)
    lineage = run.lineage or {}
    home = Path(os.environ.get("PLATFORM_HOME") or "~/.trainshed").expanduser()
    keys = [need_secret(name, home) for name in job.auth.keys]
    reporter.progress("serve", 1, 3, what="start replicas")
    settings = AppSettings(
        name=job.name,
        model=model,
        model_dir=str(folder) if storage.is_local else storage.address(run.at("model")),
        fingerprint=lineage["fingerprint"][:FINGERPRINT_CHARACTERS],
        key_hashes=tuple(sha256(key.encode()) for key in keys),
        lineage=lineage,
        min_replicas=job.replicas.min,
        max_replicas=job.replicas.max,
        target_ongoing_requests=job.replicas.target_ongoing_requests,
        max_queued_requests=job.replicas.max_queued_requests,
        cpus=job.replicas.cpus,
        gpus=job.replicas.gpus,
        max_tokens=job.max_tokens,
    )
    port = int(os.environ.get("PLATFORM_SERVE_PORT") or DEFAULT_PORT)
    url = run_application(settings, port, job.start_timeout_s)
    reporter.progress("serve", 2, 3, what="ask a first question")
    said = probe(url, keys[0], start_timeout_s=job.start_timeout_s)
    reporter.progress("serve", 3, 3, what="ready")
    facts = {
        "url": url,
        "model": model,
        "model_run": run.run_id,
        "run_id": reporter.record.run_id,
        "fingerprint": settings.fingerprint,
        "auth": list(job.auth.keys),
        "replicas": job.replicas.model_dump(),
    }
    put_endpoint(storage, job.name, facts)
    storage.write_json(reporter.record.at("lineage.json"), {"endpoint": job.name, "model": model, "made_by": lineage})
    reporter.log(f"{job.name} answers at {url}")
    return {**facts, "first_answer": said}


def delete_endpoint(storage: Storage, name: str) -> None:
    """Takes the endpoint down and forgets it."""
    delete_application(name)
    drop_endpoint(storage, name)


def _find_model(reference: str, storage: Storage, trained: Mapping[str, Record]) -> tuple[str, Record]:
    """The model's name as answers carry it, and the training that exported it."""
    if reference.startswith("run://"):
        run = trained.get(reference.removeprefix("run://")) or find_finished(storage, reference, "train")
        return run.run_id, run
    version = resolve(storage, reference)
    return str(version), Record(storage, version.facts.run_id)


def _checked_copy(storage: Storage, run: Record) -> Path:
    """The model's folder on this machine, every file with the hash it was exported with."""
    manifest = storage.read_json(run.at("model/manifest.json"))
    if manifest is None:
        raise PlatformError(f"{run.run_id} has no complete model in {storage.uri}; train it again")
    folder = storage.download(run.at("model"), Path(tempfile.gettempdir()) / f"trainshed-model-{run.run_id}")
    for name, expected in manifest["files"].items():
        if not (folder / name).is_file() or sha256((folder / name).read_bytes()) != expected:
            raise PlatformError(
                f"{storage.address(run.at('model'))}/{name}: not the file that was exported; train it again"
            )
    return folder
