"""What an evaluation looks like in a terminal: figures with their intervals, leakage, the verdict of its gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainshed.record.evaluation import Estimate, Evaluated, EvaluationResult, Verdict
    from trainshed.record.run import Record

SHOWN_FIGURES = 3


def evaluation_facts(record: Record, outcome: EvaluationResult) -> list[tuple[str, Any]]:
    """The facts that `platform show` prints of one."""
    of_model = f"{outcome.model} of {outcome.model_run}"
    figures = [(name.replace("_", " "), _figure(one, outcome.against)) for name, one in outcome.metrics.items()]
    overlap = outcome.overlap
    leakage = None
    if overlap is not None:
        leakage = (
            f"{overlap.overlapping:,} of {overlap.samples:,} samples ({overlap.share:.1%}) share a run of "
            f"{overlap.ngram} tokens with the training set {overlap.training_data}"
        )
    verdict = outcome.verdict
    reasons = [] if verdict is None else [("", reason) for reason in verdict.reasons]
    return [
        ("model", of_model),
        ("samples", f"{outcome.samples:,} of the {outcome.split} split of {outcome.data}"),
        *figures,
        *((f"{name} signature", signature) for name, signature in outcome.signatures.items()),
        ("leakage", leakage),
        *(("remark", remark) for remark in outcome.remarks),
        ("gate", None if verdict is None else verdict_text(verdict)),
        *reasons,
        ("registered", outcome.registered),
        ("alias", outcome.promoted),
        ("report", record.storage.address(record.at("report.html"))),
    ]


def evaluation_text(outcome: EvaluationResult) -> str:
    """One line: the verdict, and the first figures."""
    verdict = "" if outcome.verdict is None else f"{verdict_text(outcome.verdict)}: "
    return f"{verdict}{figures_text(outcome.metrics)} {outcome.registered or ''}".rstrip()


def evaluated_text(found: Mapping[str, Evaluated]) -> str:
    """The newest evaluation of each name in one cell: passed, failed or without a gate, and its first figures."""
    texts = []
    for name, one in found.items():
        said = figures_text(one.metrics) if one.verdict is None else verdict_text(one.verdict)
        texts.append(f"{name} {said}")
    return ", ".join(texts) or "-"


def verdict_text(verdict: Verdict) -> str:
    """A verdict in a word."""
    return "passed" if verdict.passed else "failed"


def figures_text(metrics: Mapping[str, Estimate]) -> str:
    """The first figures."""
    return ", ".join(f"{name} {one.value:.4f}" for name, one in list(metrics.items())[:SHOWN_FIGURES])


def _figure(one: Estimate, against: str | None) -> str:
    text = f"{one.value:.4f}"
    if one.interval is not None:
        text += f" ({one.interval[0]:.4f} to {one.interval[1]:.4f})"
    return text if one.other is None else f"{text}, {against} {one.other:.4f}"
