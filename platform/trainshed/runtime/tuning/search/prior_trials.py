"""What a search knows before its first trial: trials of earlier sweeps whose figures say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from trainshed.record.bound import fingerprint_of
from trainshed.record.events import Log, Sink
from trainshed.record.index import Index
from trainshed.record.learning import why_nothing_is_taken
from trainshed.record.run import Record
from trainshed.record.trials import ENDED, is_measured
from trainshed.spec.sweep.space_check import fits
from trainshed.spec.sweep.tune import TuneJob

Known = list[tuple[dict[str, JsonValue], float]]


def known_before(job: TuneJob, data: Mapping[str, Record], earlier: Sequence[Record], *, sink: Sink) -> Known:
    """Settings and figures of whole trials that lie in the space. Of a sweep on another metric, goal, model, data or
    number of steps none is taken, and `sink` hears why."""
    known: Known = []
    here = {reference: fingerprint_of(run) or "" for reference, run in data.items()}
    for sweep in earlier:
        if (why_not := why_nothing_is_taken(job, here, sweep, Index(sweep.storage))) is not None:
            sink(Log(message=f"learn_from: nothing of {sweep.run_id} is taken: {why_not}"))
            continue
        taken = [
            (trial["settings"], float(trial["value"]))
            for trial in (sweep.result or {}).get("trials", [])
            if is_measured(trial["value"]) and trial["state"] == ENDED and fits(job.space, trial["settings"])
        ]
        sink(Log(message=f"learn_from: {len(taken)} trials of {sweep.run_id} are taken"))
        known += taken
    return known
