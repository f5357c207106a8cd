"""What is kept of a sweep: each trial's story, and which one was the best."""

from __future__ import annotations

from collections import Counter
from typing import Any

from trainshed.errors import PlatformError
from trainshed.runtime.tuning.trials import CUT, FAILED, TrialFiles
from trainshed.spec.tune import TuneJob


def story(job: TuneJob, trial: TrialFiles) -> dict[str, Any]:
    """One trial: settings, `history` of the metric as `[step, value]`, its last `value`, how and why it ended."""
    facts, ended = trial.facts or {}, trial.ended or {"state": CUT}
    history = [(row["step"], row[job.metric]) for row in trial.held_out() if job.metric in row]
    failed = ended["state"] == FAILED
    return {
        "trial": trial.name,
        "settings": facts.get("settings", {}),
        "history": history,
        "value": history[-1][1] if history and not failed else None,
        "state": ended["state"],
        "cause": ended.get("cause"),
        "kind": ended.get("kind"),
        "by": ended.get("by"),
        "began_at": facts.get("began_at"),
        "ended_at": ended.get("ended_at"),
        "device_s": ended.get("device_s"),
        "took_over": facts.get("took_over", []),
    }


def best_of(job: TuneJob, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """The trial with the best metric.

    Raises:
        PlatformError: no trial came to a metric; the message is the commonest cause.
    """
    with_value = [trial for trial in trials if trial["value"] is not None]
    if not with_value:
        causes = Counter(str(trial["cause"] or f"it was {trial['state']} before it reported") for trial in trials)
        cause, count = causes.most_common(1)[0] if causes else ("there was none", 0)
        raise PlatformError(f"no trial came to a metric; {count} of {len(trials)} failed with: {cause}")
    pick = min if job.mode == "min" else max
    return pick(with_value, key=lambda trial: float(trial["value"]))
