"""Events in words, for a terminal and for the driver's log."""

from __future__ import annotations

import json
from typing import Any, assert_never

from trainshed.record.events.kinds import (
    Begin,
    CheckpointFailed,
    CheckpointKept,
    CheckpointRefused,
    End,
    Event,
    ExportsBest,
    HeldOutMetrics,
    Judged,
    Log,
    MemoryMeasured,
    Other,
    Progress,
    Registered,
    Resumed,
    RolledBack,
    RoomAwaited,
    RoomFound,
    StopAsked,
    StoppedEarly,
    TrialMoved,
    WorkerKilled,
    WorkersEnded,
    WorkersStarted,
)
from trainshed.record.events.tracking import TrackerAnswers, TrackerBegan, TrackerLeft, TrackerSilent


def describe(event: Event) -> str | None:
    """One event in words; None where it says nothing to a person."""
    match event:
        case Log(detail=detail, message=message):
            return None if detail else message
        case Begin(kind=kind, again=again):
            return f"{kind} {'goes on' if again else 'begins'}"
        case Progress():
            return _progress_text(event)
        case TrialMoved():
            return None if event.state == "running" else _trial_text(event)
        case CheckpointKept() | Other():
            return None
        case CheckpointRefused(step=step, cause=cause):
            return f"the checkpoint of step {step} is passed over: {cause}"
        case CheckpointFailed(step=step, cause=cause):
            return f"the checkpoint of step {step} was not written: {cause}"
        case Resumed(step=step, checkpoint=checkpoint):
            return f"goes on after step {step} from {checkpoint}"
        case MemoryMeasured():
            measured = event.measured_bytes / 1e6
            predicted = event.predicted_bytes / 1e6
            return f"states on worker 0: {measured:.1f} MB, planned {predicted:.1f} MB (ratio {event.ratio:.3f})"
        case StoppedEarly(best=best, step=step):
            return f"validation loss no longer falls (best {best:.4f}): ended after step {step}"
        case ExportsBest(step=step):
            return f"the weights after step {step} are exported: their validation loss was the lowest"
        case RolledBack():
            norm = "" if event.grad_norm is None else f", gradient norm {event.grad_norm}"
            return (
                f"step {event.step}: {event.verdict} (loss {event.loss}{norm}); back to step "
                f"{event.back_to}, {len(event.samples)} samples left out"
            )
        case WorkersStarted(workers=workers, seconds=seconds):
            processes = ", ".join(map(str, event.processes))
            return f"{workers} worker(s) stand after {seconds:.1f} s, processes {processes}"
        case WorkersEnded():
            return _fault_text(event)
        case WorkerKilled(who=who, cause=cause, outcome=outcome):
            return f"{who} {cause}: {outcome}"
        case RoomAwaited(room=room, needed=needed):
            return f"there is room for {room} worker(s), {needed} are needed: waiting"
        case RoomFound(room=room, workers=workers):
            return f"there is room for {room} workers, {workers} train: saving to start again"
        case StopAsked():
            return "asked to stop: the workers save at the next step"
        case HeldOutMetrics():
            return _metrics_text(event)
        case Judged():
            return _judged_text(event)
        case Registered(version=version, remark=remark):
            return f"registered {version}{remark}"
        case TrackerBegan(tracker=tracker, tracker_run=run, where=where):
            return f"{tracker} shows this run as {run}" + (f": {where}" if where else "")
        case TrackerSilent(tracker=tracker, cause=cause):
            return f"{tracker} takes nothing now: {cause}; the run goes on, and what it lacks is sent later"
        case TrackerAnswers(tracker=tracker, seconds=seconds):
            return f"{tracker} has been sent all that it lacked, after {seconds:.0f} s"
        case TrackerLeft(tracker=tracker, cause=cause):
            return f"{tracker} lacks a part of this run: {cause}; the record has all of it"
        case End(state=state, cause=cause, log=log):
            return state + (f": {cause}" if cause else "") + (f"\n  full log: {log}" if log else "")
        case _:
            assert_never(event)


def in_short(value: Any) -> str:
    """A setting of a trial: a part by its kind, a number by three digits."""
    if isinstance(value, dict):
        return str(value.get("kind", json.dumps(value)))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _trial_text(event: TrialMoved) -> str:
    settings = ", ".join(f"{path.rsplit('.', 1)[-1]} {in_short(value)}" for path, value in event.settings.items())
    figures = [(name, value) for name, value in event.figures.items() if isinstance(value, int | float)]
    found = (f"{name} {value:.4f}" for name, value in figures if name.startswith("validation_") or name == "train_loss")
    return f"{event.trial} {event.state} at step {event.step}: {next(found, 'no metric')} ({settings})"


def _progress_text(event: Progress) -> str:
    words = [f"{event.stage} {event.done:g}/{event.total:g}"]
    if event.what is not None:
        words.append(event.what)
    if event.train_loss is not None:
        words.append(f"loss {event.train_loss:.3f}")
    if event.validation_loss is not None:
        words.append(f"validation {event.validation_loss:.3f}")
    if event.tokens_per_s is not None:
        words.append(f"{event.tokens_per_s:,.0f} tokens/s")
    if event.samples_per_s is not None:
        words.append(f"{event.samples_per_s:,.0f} samples/s")
    return "  ".join(words)


def _fault_text(event: WorkersEnded) -> str:
    said = f"workers ended at step {event.step}: {event.cause}"
    if event.hopeless:
        return f"{said}; starting them again would not help"
    if not event.again:
        return f"{said}; it was so {(event.limit or 0) + 1} times without a new step"
    if event.restart is None:
        return f"{said}; starting them again"
    return f"{said}; starting them again (restart {event.restart} of {event.limit} without a new step)"


def _metrics_text(event: HeldOutMetrics) -> str:
    figures = {name: value for name, value in event.figures.items() if value is not None}
    text = f"{event.split}: " + ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
    if event.unigram_entropy_nats is not None:
        text += f"; unigram entropy of the same tokens {event.unigram_entropy_nats:.4f} nats"
    return text


def _judged_text(event: Judged) -> str:
    """A line for each figure: whoever looks at a gate wants to see how near it was."""
    lines = [f"{event.model} on {event.samples:,} samples of the {event.split} split"]
    for name, (value, interval, other) in event.figures.items():
        line = f"  {name} {value:.4f}"
        if interval is not None:
            line += f" ({interval[0]:.4f} to {interval[1]:.4f})"
        lines.append(line if other is None else f"{line}, {event.against} {other:.4f}")
    if event.overlapping is not None:
        lines.append(f"  leakage: {event.overlapping:.1%} of the samples share tokens with the training set")
    if event.passed is not None:
        lines.append("  passed its gate" if event.passed else f"  failed its gate: {'; '.join(event.reasons)}")
    return "\n".join(lines)
