"""The files that an evaluation leaves beside its result: report.html, its pictures, and every answer.

report.html  report/{confusion,calibration,roc}.png  answers.jsonl
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

from trainshed.record.evaluation import EvaluationResult
from trainshed.record.run import Record, now
from trainshed.runtime.evaluation.bootstrap import Array
from trainshed.runtime.evaluation.calibration import reliability
from trainshed.runtime.evaluation.page import Answer, page

TITLES = {"confusion": "Confusion matrix", "calibration": "Calibration", "roc": "ROC curves"}


def write_report(
    record: Record,
    name: str,
    result: EvaluationResult,
    columns: Mapping[str, Array],
    answers: Sequence[Answer],
    labels: Sequence[str],
) -> None:
    """Writes everything; `labels` are the model's, in the order of its scores."""
    pictures = _pictures(columns, labels)
    for key, content in pictures.items():
        record.storage.write(record.at(f"report/{key}.png"), content)
    if answers:
        lines = (json.dumps(dataclasses.asdict(one), ensure_ascii=False) for one in answers)
        record.storage.write(record.at("answers.jsonl"), "".join(f"{line}\n" for line in lines).encode())
    shown = [(TITLES[key], content) for key, content in pictures.items()]
    html = page(result, name=name, run_id=record.run_id, written=now(), pictures=shown, answers=answers)
    record.storage.write(record.at("report.html"), html.encode())


def _pictures(columns: Mapping[str, Array], labels: Sequence[str]) -> dict[str, bytes]:
    """Those of a classifier that chooses one class; none of other models."""
    scores = columns.get("scores")
    truth = columns.get("labels")
    if scores is None or truth is None or truth.shape[1] != 1 or len(labels) < 2:
        return {}
    from trainshed.runtime.evaluation.pictures import calibration, confusion, roc  # a second of matplotlib

    numbers = truth[:, 0].astype(int)
    made = {
        "confusion": confusion(labels, numbers, scores.argmax(1)),
        "calibration": calibration(reliability(scores, truth)),
        "roc": roc(labels, scores, numbers),
    }
    return {key: content for key, content in made.items() if content is not None}
