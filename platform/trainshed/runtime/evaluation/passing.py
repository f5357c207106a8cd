"""What follows from a verdict: a model that passes becomes a version and gets an alias. Versions keep evaluations."""

from __future__ import annotations

from trainshed.errors import PlatformError
from trainshed.record.built_on import waits_for
from trainshed.record.evaluation import Evaluated, EvaluationResult
from trainshed.record.evaluations import keep_evaluation
from trainshed.record.events import Registered
from trainshed.record.facts import VersionFacts
from trainshed.record.registry import ModelVersion, all_versions, register, set_alias
from trainshed.record.results import WeightsOrigin
from trainshed.record.run import Record, now
from trainshed.runtime.report import Reporter
from trainshed.spec.evaluation.evaluate import EvaluateJob


def settle(job: EvaluateJob, result: EvaluationResult, origin: WeightsOrigin, reporter: Reporter) -> EvaluationResult:
    """Registers and promotes a model that has passed; every version of the same export gets the evaluation.

    A version is named only by a model that has passed, so nothing that failed can be served by its alias.
    """
    storage = reporter.record.storage
    passed = result.verdict is not None and result.verdict.passed
    registered = promoted = None
    name = job.register_as or waits_for(Record(storage, origin.run_id), f"run://{job.name}")
    if passed and name is not None:
        registered = _registered(name, result, origin, reporter)
    versions = [one for one in all_versions(storage) if one.facts.run_id == origin.run_id]
    facts = Evaluated(
        run_id=reporter.record.run_id,
        name=job.name,
        created_at=now(),
        split=result.split,
        samples=result.samples,
        metrics=result.metrics,
        verdict=result.verdict,
    )
    for version in versions:
        keep_evaluation(storage, version, facts)
    if passed and job.promote is not None:
        named = str(registered) if registered is not None else str(origin.version)
        version = set_alias(storage, named, job.promote)
        promoted = f"{version.name}@{job.promote}"
        reporter.log(f"{promoted} is {version}")
    said = {"registered": None if registered is None else str(registered), "promoted": promoted}
    return result.model_copy(update=said)


def _registered(name: str, result: EvaluationResult, origin: WeightsOrigin, reporter: Reporter) -> ModelVersion:
    """The next version of a name; the same one where a driver that died had made it already.

    Raises:
        PlatformError: the model has no lineage.
    """
    storage = reporter.record.storage
    if origin.fingerprint is None:
        raise PlatformError(f"{origin.run_id} has no fingerprint in {storage.uri}; train it again")
    there = [
        one
        for one in all_versions(storage)
        if one.name == name and one.facts.run_id == origin.run_id and one.facts.model_sha256 == origin.model_sha256
    ]
    if there:
        return there[0]
    bounds = [] if result.verdict is None else list(result.verdict.require)
    facts = VersionFacts(
        name=name,
        created_at=now(),
        run_id=origin.run_id,
        model=origin.model,
        fingerprint=origin.fingerprint,
        model_sha256=origin.model_sha256,
        metrics={one: result.metrics[one].value for one in bounds if one in result.metrics},
    )
    version = register(storage, facts)
    reporter(Registered(version=str(version), remark=f", which passed {reporter.record.run_id}"))
    return version
