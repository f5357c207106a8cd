"""The serve job as the driver sees it: from a model version to an endpoint that has answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainshed.environment import home_folder, serve_port
from trainshed.errors import DamagedFile, PlatformError, UsageError
from trainshed.record.endpoints import drop_endpoint, endpoint_of, get_endpoint, put_endpoint
from trainshed.record.evaluations import passed
from trainshed.record.index import Index, find_finished
from trainshed.record.lineage import sha256
from trainshed.record.registry import resolve
from trainshed.record.results import EndpointLineage, Lineage, ServeResult
from trainshed.record.run import Record
from trainshed.record.secrets import need_secret
from trainshed.record.storage import Storage
from trainshed.runtime.models.files import ModelFiles
from trainshed.runtime.report import Reporter
from trainshed.runtime.serving.endpoint import delete_application, probe, start_serve
from trainshed.runtime.serving.rollout import roll_out
from trainshed.runtime.serving.settings import AppSettings
from trainshed.spec.serving.serve import ServeJob

FINGERPRINT_CHARACTERS = 16


def deploy(job: ServeJob, reporter: Reporter, *, trained: Mapping[str, Record]) -> ServeResult:
    """Serves the model and returns the result: URL, model, fingerprint, what it said when it was first asked.

    Raises:
        PlatformError: the model's files are not those that were exported, a secret is missing, or no answer came.
    """
    storage = reporter.record.storage
    run_id = reporter.record.run_id
    model, run = _find_model(job.model, storage, trained)
    evaluation = _evaluation(job, storage, run)
    reporter.progress("serve", 0, 3, what=f"check {model}")
    manifest = storage.read_json(run.at("model/manifest.json"))
    if manifest is None and storage.exists(run.at("adapter/manifest.json")):
        raise PlatformError(f"{run.run_id} exported adapters alone: there is no model to serve; say adapters: both")
    files = ModelFiles.of(storage.address(run.at("model")), manifest)
    files.check()
    home = home_folder()
    keys = [need_secret(name, home) for name in job.auth.keys]
    if (lineage := run.lineage) is None or lineage.fingerprint is None:
        raise PlatformError(f"{run.run_id} has no lineage.json in {storage.uri}; train it again")
    settings = _settings(job, model, files, lineage, keys, run_id)
    port = serve_port()
    reporter.progress("serve", 1, 3, what="start replicas")
    start_serve(port, job.start_timeout_s)

    def prove(url: str) -> ServeResult:
        reporter.progress("serve", 2, 3, what="ask a first question")
        said = probe(url, keys[0], start_timeout_s=job.start_timeout_s)
        made = EndpointLineage(endpoint=job.name, model=model, made_by=lineage, evaluation=evaluation)
        storage.write_json(reporter.record.at("lineage.json"), made.as_json())
        served = ServeResult(
            url=url,
            model=model,
            model_run=run.run_id,
            run_id=run_id,
            fingerprint=settings.fingerprint,
            auth=job.auth.keys,
            replicas=job.replicas.model_dump(),
            first_answer=said,
        )
        put_endpoint(storage, endpoint_of(job.name, served))  # the last act: the record names what has answered
        return served

    proven_run = _proven_run(storage, job.name)
    result = roll_out(settings, port, prove, proven_run=proven_run, start_timeout_s=job.start_timeout_s)
    reporter.progress("serve", 3, 3, what="ready")
    reporter.log(f"{job.name} answers at {result.url}")
    return result


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


def _evaluation(job: ServeJob, storage: Storage, run: Record) -> str | None:
    """The evaluation that lets the model pass; None without a gate. Raises PlatformError where none does."""
    if job.gate is None:
        return None
    runs = Index(storage).named(job.gate.removeprefix("run://"), "evaluate")
    return passed(runs, gate=job.gate, model=job.model, model_run=run.run_id).run_id


def _settings(
    job: ServeJob, model: str, files: ModelFiles, lineage: Lineage, keys: Sequence[str], run_id: str
) -> AppSettings:
    return AppSettings(
        name=job.name,
        model=model,
        model_dir=files.place,
        hashes=files.hashes,
        run_id=run_id,
        fingerprint=(lineage.fingerprint or "")[:FINGERPRINT_CHARACTERS],
        key_hashes=tuple(sha256(key.encode()) for key in keys),
        lineage=lineage.as_json(),
        min_replicas=job.replicas.min,
        max_replicas=job.replicas.max,
        target_ongoing_requests=job.replicas.target_ongoing_requests,
        max_queued_requests=job.replicas.max_queued_requests,
        cpus=job.replicas.cpus,
        gpus=job.replicas.gpus,
        max_tokens=job.max_tokens,
        obey_special_tokens=job.special_tokens_in_text == "obeyed",
    )


def _proven_run(storage: Storage, name: str) -> str | None:
    """The serve run that made what the endpoint's record names; None where there is no record."""
    try:
        return get_endpoint(storage, name).run_id
    except (UsageError, DamagedFile):
        return None
