"""The evaluate job as the driver sees it: workers measure; figures, leakage, verdict and report are made of that here.

Read top to bottom. The model and, with `against`, another one are measured one after the other on the same samples.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from trainshed.errors import PlatformError
from trainshed.record.built_on import prepared
from trainshed.record.evaluation import EvaluationResult, OverlapFacts, Verdict
from trainshed.record.events import Judged
from trainshed.record.results import WeightsOrigin
from trainshed.record.run import Record
from trainshed.record.weights import Origins
from trainshed.runtime.evaluation.bootstrap import Statistic
from trainshed.runtime.evaluation.figures import estimates, joined, of_answers, of_task, translations_of
from trainshed.runtime.evaluation.measuring import Evaluating, Found, find_out, forget
from trainshed.runtime.evaluation.passing import settle
from trainshed.runtime.evaluation.report import write_report
from trainshed.runtime.evaluation.seen import overlap_with, training_data
from trainshed.runtime.report import Reporter
from trainshed.runtime.training.ray_train.spares import Spares
from trainshed.spec.evaluation.evaluate import EvaluateJob, Split
from trainshed.spec.evaluation.labels import labels_of
from trainshed.spec.evaluation.verdict import failures, leakage_failure


def evaluate_job(
    job: EvaluateJob, reporter: Reporter, *, data: Record, weights: Origins, standby: Spares
) -> EvaluationResult:
    """Evaluates, writes the report, and registers or promotes a model that passes its gate.

    Raises:
        PlatformError: there are no samples, or the model does not go with the data.
        Stopped: it was asked to end; what is measured by then is kept.
    """
    run = _begun(job, reporter, data)
    own = _origin(weights, job.model)
    found = find_out(run, own, job.model, standby, folder=reporter.record.at())
    against = None if job.require is None else job.require.against
    other = None
    if against is not None:
        place = reporter.record.at("against")
        other = find_out(run, _origin(weights, against), against, Spares(), folder=place)
    result = _result(run, own, found, other, weights)
    result = _judged(run, result)
    labels = _labels(run, own)
    write_report(reporter.record, job.name, result, found.columns, found.answers, labels)
    settled = settle(job, result, own, reporter)  # only now: what has a version has a report
    if settled != result:
        write_report(reporter.record, job.name, settled, found.columns, found.answers, labels)
    for place in (reporter.record.at(), reporter.record.at("against")):
        forget(run, place)
    return settled


def split_of(job: EvaluateJob, splits: Sequence[str]) -> Split:
    """The split that a job means of data that has these."""
    if job.split is not None:
        return job.split
    return "test" if "test" in splits else "validation"


def _begun(job: EvaluateJob, reporter: Reporter, data: Record) -> Evaluating:
    """Raises PlatformError where there is nothing to evaluate on."""
    made = prepared(data)
    splits = made.manifest.splits
    split = split_of(job, tuple(splits))
    there = splits[split].samples if split in splits else 0
    if not there:
        raise PlatformError(
            f"split: {job.data} has no samples in its {split} split; it has {', '.join(splits)}; prepare it with "
            f"`split: {{{split}: 0.1}}`, or evaluate on another one"
        )
    return Evaluating(job, reporter, data, made, split, min(there, job.max_samples or there))


def _origin(weights: Origins, reference: str) -> WeightsOrigin:
    origin = weights[reference]
    assert isinstance(origin, WeightsOrigin), "an evaluation is of an export"
    return origin


def _result(
    run: Evaluating, own: WeightsOrigin, found: Found, other: Found | None, weights: Origins
) -> EvaluationResult:
    """Figures with their intervals, and leakage; no verdict yet."""
    job = run.job
    spec = job.intervals
    others = None if other is None else of_task(other.training.task, other.columns)
    metrics = estimates(of_task(found.training.task, found.columns), run.samples, spec, others)
    signatures: dict[str, str] = {}
    if found.answers:
        ours = _of_answers(found)
        theirs = None if other is None or not other.answers else _of_answers(other)[0]
        metrics |= estimates(ours[0], len(found.answers), spec, theirs)
        signatures = ours[1]
    overlap, remarks = _overlap(run, own)
    against = None if job.require is None else job.require.against
    return EvaluationResult(
        model=_named(own),
        model_run=own.run_id,
        fingerprint=own.fingerprint,
        against=None if against is None else _named(_origin(weights, against)),
        data=run.data.run_id,
        data_fingerprint=run.made.manifest.fingerprint,
        split=run.split,
        samples=run.samples,
        answered=len(found.answers),
        confidence=spec.confidence,
        metrics=metrics,
        signatures=signatures,
        overlap=overlap,
        remarks=remarks,
    )


def _of_answers(found: Found) -> tuple[Statistic, dict[str, str]]:
    """Statistics of the answers, and the signatures of those that have one."""
    said = [one.said for one in found.answers]
    truth = [one.truth for one in found.answers]
    plain = of_answers(said, truth)
    translated = translations_of(found.training.task, said, truth)
    if translated is None:
        return plain, {}
    return joined(plain, translated.statistic), translated.signatures


def _overlap(run: Evaluating, own: WeightsOrigin) -> tuple[OverlapFacts | None, tuple[str, ...]]:
    """What of the samples the model has learnt from; None where nothing is there to compare."""
    storage = run.reporter.record.storage
    learnt, remarks = training_data(Record(storage, own.run_id))
    if not learnt:
        return None, remarks
    run.reporter.log(f"leakage: compares runs of {run.job.leakage.ngram} tokens with {len(learnt)} training set(s)")
    ngram = run.job.leakage.ngram
    return overlap_with(learnt, run.made, run.split, run.samples, storage=storage, ngram=ngram), remarks


def _judged(run: Evaluating, result: EvaluationResult) -> EvaluationResult:
    """The result with the verdict of its gate, and why it failed, if it did."""
    job = run.job
    verdict = None
    if job.has_gate:
        reasons = _reasons(job, result)
        verdict = Verdict(require=_asked_of(job), passed=not reasons, reasons=reasons)
    figures = {name: (one.value, one.interval, one.other) for name, one in result.metrics.items()}
    run.reporter(
        Judged(
            model=result.model,
            split=result.split,
            samples=result.samples,
            figures=figures,
            against=result.against,
            overlapping=None if result.overlap is None else result.overlap.share,
            passed=None if verdict is None else verdict.passed,
            reasons=() if verdict is None else verdict.reasons,
        )
    )
    failure = None
    if verdict is not None and not verdict.passed:
        failure = f"{result.model} has not passed: {'; '.join(verdict.reasons)}"
    return result.model_copy(update={"verdict": verdict, "failure": failure})


def _asked_of(job: EvaluateJob) -> dict[str, JsonValue]:
    """The gate as a person reads it: bounds first."""
    require = job.require
    asked: dict[str, JsonValue] = {}
    if require is not None:
        asked |= {name: str(bound) for name, bound in require.bounds.items()}
        asked |= {} if require.against is None else {"against": require.against, "within": require.within}
    if job.leakage.max_share is not None:
        asked["leakage.max_share"] = job.leakage.max_share
    return asked


def _reasons(job: EvaluateJob, result: EvaluationResult) -> tuple[str, ...]:
    reasons: list[str] = []
    if job.require is not None:
        figures = {name: one.value for name, one in result.metrics.items()}
        others = {name: one.other for name, one in result.metrics.items() if one.other is not None}
        reasons += failures(job.require, figures, other=None if job.require.against is None else others)
    if result.overlap is not None:
        reasons += filter(None, [leakage_failure(job.leakage, result.overlap.share)])
    elif job.leakage.max_share is not None:
        reasons.append("leakage.max_share: no training set is there to compare with, so nothing shows that it is kept")
    return tuple(reasons)


def _labels(run: Evaluating, own: WeightsOrigin) -> tuple[str, ...]:
    """The model's labels, in the order of its scores."""
    config = run.reporter.record.storage.read_json(f"{own.model}/config.json")
    return labels_of(config) if isinstance(config, dict) else ()


def _named(origin: WeightsOrigin) -> str:
    return origin.version or origin.run_id
