"""Does the gate of a training's registration stand where it can be passed? Over the documents of one submission.

`register: {name: chat, gate: run://chat-eval}`: the evaluation comes later, is of this training, and has a gate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from trainshed.spec.evaluation.evaluate import EvaluateJob
from trainshed.spec.serving.serve import ServeJob
from trainshed.spec.training.registration import Registration

KEY = "register.gate"


def gate_misfits(jobs: Sequence[Any]) -> Iterator[tuple[int, str, str]]:
    """Every fault: the number of its document, the key, and one line. `jobs` are all documents in order."""
    for number, job in enumerate(jobs):
        registered = getattr(job, "register_as", None)
        if not isinstance(registered, Registration):
            continue
        said = _misfit(job.name, registered, jobs[number + 1 :])
        if said is not None:
            yield number, KEY, said
            continue
        yield from _too_early(number, registered, jobs)


def _misfit(training: str, registered: Registration, later: Sequence[Any]) -> str | None:
    """Why nothing after the training lets its model pass, in one line."""
    named = [one for one in later if f"run://{one.name}" == registered.gate]
    if not named or not isinstance(named[0], EvaluateJob):
        return (
            f"{registered.gate} is no evaluate document after this one; add one with model: run://{training} and "
            "require, or register at once with register: NAME"
        )
    evaluation = named[0]
    if evaluation.model != f"run://{training}":
        return f"{registered.gate} evaluates {evaluation.model}; say model: run://{training} there"
    if not evaluation.has_gate:
        return f"{registered.gate} lets every model pass; say require there"
    if evaluation.register_as not in (None, registered.name):
        return f"{registered.gate} registers {evaluation.register_as}, and this one {registered.name}; say one of them"
    return None


def _too_early(number: int, registered: Registration, jobs: Sequence[Any]) -> Iterator[tuple[int, str, str]]:
    """Documents before the evaluation that would take an older version for the one that is yet to pass."""
    for place, job in enumerate(jobs[number + 1 :], start=number + 1):
        if f"run://{job.name}" == registered.gate:
            return
        if isinstance(job, ServeJob | EvaluateJob) and job.model == f"{registered.name}@latest":
            yield place, "model", f"{job.model} is made by {registered.gate}, which stands later; put it after that"
